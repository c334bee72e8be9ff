// A stream of completion chunks as OpenAI's API documents it, out of one whose chunks all carry `usage`, which never
// ends an answer by its limit, and which tells of a failure in the words of an answer.
import json from 'json_object.js';
import errors from 'errors.js';
import sse from 'sse.js';

const OPEN_OBJECT = 123, COMMA = 44;

// What an engine puts before the reason, as the text of the chunk that ends the answer.
const FAILURE = 'Internal error: ';

const STOP = '"finish_reason":"stop"';
const LENGTH = '"finish_reason":"length"';

// start(asked)   asked: {usage: whether the request asked for it, limit: its max_tokens, 0 if there was none}.
function start(asked) {
    return {
        framer: sse.framer(), asked: asked,
        // bytes of the last usage that counted anything, and of the chunk it came in
        usage: null, chunk: null,
        failed: false,
    };
}

// feed(state, bytes, send)   sends what can be sent by now. Returns false when the rest of the stream must pass as it is.
function feed(state, bytes, send) {
    if (sse.feed(state.framer, bytes, (event) => mend(state, event, send))) {
        return true;
    }
    send(sse.rest(state.framer));
    return false;
}

// An engine that ends in the middle of an event: its bytes, for the client to judge.
function rest(state) {
    return sse.rest(state.framer);
}

function mend(state, event, send) {
    const line = sse.data(event);
    if (line === null) {
        send(event);
        return true;
    }
    const at = line[0];
    const end = line[1];
    if (event[at] === OPEN_OBJECT) {
        return mendChunk(state, event, at, end, send);
    }
    if (event.subarray(at, end).toString() === '[DONE]' && state.asked.usage && state.usage !== null && !state.failed) {
        send(usageChunk(state));
        state.usage = null;
    }
    send(event);
    return true;
}

function mendChunk(state, event, at, end, send) {
    const chunk = {usage: null, choices: null, before: -1};
    const ended = json.members(event, at, end, (keyAt, keyEnd, valueAt, valueEnd) => {
        if (is(event, keyAt, keyEnd, '"usage"')) {
            chunk.usage = {keyAt: keyAt, at: valueAt, end: valueEnd, before: chunk.before};
        } else if (is(event, keyAt, keyEnd, '"choices"')) {
            chunk.choices = {at: valueAt, end: valueEnd};
        }
        chunk.before = valueEnd;
    });
    if (ended < 0) {
        send(event);
        return true;
    }
    const reason = chunk.choices === null ? -1 : event.indexOf('"finish_reason":"', chunk.choices.at);
    if (reason >= 0 && hasFailed(event, at, end)) {
        state.failed = true;
        send(failure(event, at, end));
        return true;
    }
    const edits = [];
    if (chunk.usage !== null && event[chunk.usage.at] === OPEN_OBJECT) {
        if (countsAnything(event, chunk.usage.at, chunk.usage.end)) {
            state.usage = event.subarray(chunk.usage.at, chunk.usage.end);
            state.chunk = event.subarray(at, end);
        }
        if (chunk.choices !== null && isEmptyList(event, chunk.choices)) {
            return false;
        }
        edits.push(withComma(event, chunk.usage));
    }
    if (reason >= 0 && event.indexOf(STOP, reason) === reason && reachedLimit(state)) {
        edits.push({at: reason, end: reason + STOP.length, text: LENGTH});
    }
    sendEdited(event, edits, send);
    return true;
}

function sendEdited(event, edits, send) {
    let from = 0;
    edits.sort((one, other) => one.at - other.at);
    for (let next = 0; next < edits.length; next++) {
        const edit = edits[next];
        send(event.subarray(from, edit.at));
        if (edit.text) {
            send(Buffer.from(edit.text));
        }
        from = edit.end;
    }
    send(from === 0 ? event : event.subarray(from));
}

function is(event, keyAt, keyEnd, quoted) {
    return keyEnd - keyAt === quoted.length && event.indexOf(quoted, keyAt) === keyAt;
}

function isEmptyList(event, choices) {
    return event.subarray(choices.at, choices.end).toString().replace(/\s/g, '') === '[]';
}

// Zeros stand for what the engine didn't count.
function countsAnything(event, at, end) {
    for (let next = at; next < end; next++) {
        if (event[next] >= 49 && event[next] <= 57) {
            return true;
        }
    }
    return false;
}

// The member with the comma before it, or behind it where it is the first.
function withComma(event, usage) {
    if (usage.before >= 0) {
        return {at: usage.before, end: usage.end};
    }
    const comma = event.indexOf(COMMA, usage.end);
    return {at: usage.keyAt, end: comma >= 0 && onlySpace(event, usage.end, comma) ? comma + 1 : usage.end};
}

function onlySpace(event, at, end) {
    return event.subarray(at, end).toString().trim() === '';
}

// An answer of as many tokens as the request allowed has, in OpenAI's words, the finish reason "length".
function reachedLimit(state) {
    if (state.asked.limit === 0 || state.usage === null) {
        return false;
    }
    const usage = json.value(state.usage, 0, state.usage.length);
    return usage !== undefined && usage.completion_tokens >= state.asked.limit;
}

// Only the engine itself ends an answer in the same chunk that carries a text: the model's words come before that.
function hasFailed(event, at, end) {
    return event.indexOf(FAILURE, at) >= 0 && failureText(event, at, end) !== null;
}

function failureText(event, at, end) {
    const chunk = json.value(event, at, end);
    const choice = chunk !== undefined && Array.isArray(chunk.choices) ? chunk.choices[0] : undefined;
    if (!choice || !choice.finish_reason) {
        return null;
    }
    const text = choice.delta ? choice.delta.content : choice.text;
    return typeof text === 'string' && text.startsWith(FAILURE) ? text.slice(FAILURE.length) : null;
}

function failure(event, at, end) {
    return dataLine(JSON.stringify(errors.shape(500, failureText(event, at, end), {})));
}

function usageChunk(state) {
    const chunk = json.value(state.chunk, 0, state.chunk.length) || {};
    return dataLine(JSON.stringify({
        id: chunk.id, object: chunk.object, created: chunk.created, model: chunk.model,
        choices: [], usage: json.value(state.usage, 0, state.usage.length),
    }));
}

function dataLine(text) {
    return Buffer.from(`data: ${text}\n\n`);
}

export default {start, feed, rest};
