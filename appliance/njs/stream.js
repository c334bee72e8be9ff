// A stream of completion chunks as OpenAI's API documents it, out of one whose chunks all carry `usage`, which never
// ends an answer by its limit, which tells of a failure in the words of an answer, and whose chunks take the id of
// whoever asked last.
import json from 'json_object.js';
import errors from 'errors.js';
import sse from 'sse.js';

const OPEN_OBJECT = 123, OPEN_LIST = 91, CLOSE_LIST = 93, COMMA = 44;

// What an engine puts before the reason, as the text of the chunk that ends the answer.
const FAILURE = 'Internal error: ';

const REASON = '"finish_reason":"';
const STOP = '"finish_reason":"stop"';

// start(asked, send)   asked: {usage: whether the request asked for it, limit: its max_tokens, 0 if there was none};
// send(bytes) is called with what can be sent.
function start(asked, send) {
    const state = {
        asked: asked, send: send, failed: false,
        // the last event whose usage counted anything, and where its chunk stands in it
        counted: null, at: 0, end: 0,
        // the first chunk's id in its quotes, and the same as bytes
        id: '', idBytes: null,
    };
    state.framer = sse.framer((event) => mend(state, event));
    return state;
}

// feed(state, bytes)   Returns false when the rest of the stream must pass as it is.
function feed(state, bytes) {
    if (sse.feed(state.framer, bytes)) {
        return true;
    }
    state.send(sse.rest(state.framer));
    return false;
}

// An engine that ends in the middle of an event: its bytes, for the client to judge.
function rest(state) {
    return sse.rest(state.framer);
}

// Returns whether anything of the event was sent.
function mend(state, event) {
    if (!sse.hasData(event)) {
        state.send(event);
        return true;
    }
    const at = sse.data.at;
    const end = sse.data.end;
    if (event[at] === OPEN_OBJECT) {
        return mendChunk(state, event, at, end);
    }
    if (state.asked.usage && !state.failed && isDone(event, at, end)) {
        sendUsage(state);
    }
    state.send(event);
    return true;
}

function isDone(event, at, end) {
    return end - at === 6 && event.indexOf('[DONE]', at) === at;
}

// Where the members stand that matter; one object for all chunks, for njs gives no memory back.
const chunk = {
    usage: false, keyAt: 0, usageAt: 0, usageEnd: 0, before: 0, choices: false, empty: false, idAt: 0, idEnd: 0,
};

function isChunk(event, at, end) {
    let before = -1;
    chunk.usage = chunk.choices = chunk.empty = false;
    chunk.idAt = chunk.idEnd = 0;
    json.start(event, at, end);
    while (json.next()) {
        if (isNamed(event, '"usage"')) {
            chunk.usage = event[json.member.at] === OPEN_OBJECT;
            chunk.keyAt = json.member.keyAt;
            chunk.usageAt = json.member.at;
            chunk.usageEnd = json.member.end;
            chunk.before = before;
        } else if (isNamed(event, '"choices"')) {
            chunk.choices = true;
            chunk.empty = event[json.member.at] === OPEN_LIST &&
                event[json.skipSpace(event, json.member.at + 1, json.member.end)] === CLOSE_LIST;
        }
        if (isNamed(event, '"id"')) {
            chunk.idAt = json.member.at;
            chunk.idEnd = json.member.end;
        }
        before = json.member.end;
    }
    return json.result() >= 0;
}

function isNamed(event, quoted) {
    return json.member.keyEnd - json.member.keyAt === quoted.length &&
        event.indexOf(quoted, json.member.keyAt) === json.member.keyAt;
}

function mendChunk(state, event, at, end) {
    if (!isChunk(event, at, end)) {
        state.send(event);
        return true;
    }
    keepId(state, event);
    const reason = chunk.choices ? event.indexOf(REASON, at) : -1;
    if (reason >= 0 && event.indexOf(FAILURE, at) >= 0) {
        const text = failureText(event, at, end);
        if (text !== null) {
            state.failed = true;
            state.send(dataLine(JSON.stringify(errors.shape(500, text, {}))));
            return true;
        }
    }
    if (chunk.usage && countsAnything(event, chunk.usageAt, chunk.usageEnd)) {
        state.counted = event;
        state.at = at;
        state.end = end;
    }
    if (chunk.usage && chunk.choices && chunk.empty) {
        return false;
    }
    const ended = reason >= 0 && event.indexOf(STOP, reason) === reason && reachedLimit(state) ?
        endedByLength(event, at, end) : null;
    if (ended !== null) {
        state.send(ended);
    } else if (chunk.usage) {
        sendWithoutUsage(state, event);
    } else {
        state.send(event);
    }
    return true;
}

// All chunks of an answer have one id. It is written over in its place: the same length, and no new bytes for njs to keep.
function keepId(state, event) {
    const length = chunk.idEnd - chunk.idAt;
    if (length === 0 || !chunk.choices) {
        return;
    }
    if (state.id === '') {
        state.id = event.subarray(chunk.idAt, chunk.idEnd).toString();
        state.idBytes = Buffer.from(state.id);
    } else if (length === state.idBytes.length && event.indexOf(state.id, chunk.idAt) !== chunk.idAt) {
        // byte by byte: Buffer.write of njs 0.7.9 writes more than the text
        for (let place = 0; place < length; place++) {
            event[chunk.idAt + place] = state.idBytes[place];
        }
    }
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

// An answer of as many tokens as the request allowed has, in OpenAI's words, the finish reason "length".
function reachedLimit(state) {
    if (state.asked.limit === 0 || state.counted === null) {
        return false;
    }
    return countedLast(state).completion_tokens >= state.asked.limit;
}

// The usage that counted last; what only looked like a chunk has counted nothing.
function countedLast(state) {
    const last = json.value(state.counted, state.at, state.end);
    return last !== undefined && last.usage || {};
}

function endedByLength(event, at, end) {
    const told = json.value(event, at, end);
    if (told === undefined || !Array.isArray(told.choices)) {
        return null;
    }
    told.choices[0].finish_reason = 'length';
    if (chunk.usage) {
        delete told.usage;
    }
    return dataLine(JSON.stringify(told));
}

// The comma before it goes too, or the one behind it where it is the first member.
function sendWithoutUsage(state, event) {
    let from = chunk.before;
    let to = chunk.usageEnd;
    if (from < 0) {
        from = chunk.keyAt;
        const next = json.skipSpace(event, to, event.length);
        to = event[next] === COMMA ? next + 1 : to;
    }
    state.send(event.subarray(0, from));
    state.send(event.subarray(to));
}

// Only the engine itself ends an answer in the same chunk that carries a text: the model's words come before that.
function failureText(event, at, end) {
    const told = json.value(event, at, end);
    const choice = told !== undefined && Array.isArray(told.choices) ? told.choices[0] : undefined;
    if (!choice || !choice.finish_reason) {
        return null;
    }
    const text = choice.delta ? choice.delta.content : choice.text;
    return typeof text === 'string' && text.startsWith(FAILURE) ? text.slice(FAILURE.length) : null;
}

function sendUsage(state) {
    const last = state.counted === null ? undefined : json.value(state.counted, state.at, state.end);
    state.counted = null;
    if (last !== undefined && last.usage) {
        state.send(dataLine(JSON.stringify({
            id: last.id, object: last.object, created: last.created, model: last.model,
            choices: [], usage: last.usage,
        })));
    }
}

function dataLine(text) {
    return Buffer.from(`data: ${text}\n\n`);
}

export default {start, feed, rest};
