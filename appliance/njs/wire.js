// What nginx calls, in this order, for a request to an engine whose wire differs from OpenAI's API: `check` in front of
// the engine, `header` and `body` on its answer. proxy_mending.sh renders the configuration that names them.
import request from 'request.js';
import errors from 'errors.js';
import stream from 'stream.js';

const PROBLEMS = {
    malformed: {code: 'invalid_json', message: 'The body of the request is not a JSON object.'},
    complex: {code: 'invalid_json', message: 'The body of the request has too many JSON values.'},
    model: {code: 'invalid_model', message: 'The model must be given by its name, as text.'},
    messages: {code: 'invalid_messages', message: 'The request needs `messages`: a list with one message at least.'},
    prompt: {code: 'invalid_prompt', message: 'The request needs a `prompt`.'},
    bounds: {code: 'invalid_value', message: 'The number is smaller or larger than it may be.'},
};

// What a request is about; without it the engine lets its model speak from nothing, or stumbles.
const CHAT = /\/chat\/completions$/;

function topic(r) {
    return CHAT.test(r.uri) ? 'messages' : 'prompt';
}

// An engine's error is shorter; what is longer is none that it made itself.
const LONGEST_ERROR = 65536;
const LONGEST_NAME = 100;

function check(r) {
    const asked = request.read(r.requestBuffer);
    const served = r.variables.slm_models.split(' ');
    if (asked.problem) {
        refuseFor(r, asked.problem, asked.param);
        return;
    }
    const unknown = asked.models.filter((model) => !served.includes(model));
    if (unknown.length > 0) {
        refuse(r, 404, `The model \`${unknown[0].slice(0, LONGEST_NAME)}\` does not exist here. ` +
               `GET /v1/models lists what does.`, 'model_not_found', null);
        return;
    }
    if (!asked[topic(r)]) {
        refuseFor(r, topic(r), topic(r));
        return;
    }
    r.variables.slm_usage_asked = asked.usage ? '1' : '';
    r.variables.slm_token_limit = String(asked.limit);
    r.internalRedirect(r.variables.slm_engine_location);
}

function refuseFor(r, problem, param) {
    refuse(r, 400, PROBLEMS[problem].message, PROBLEMS[problem].code, param);
}

function refuse(r, status, message, code, param) {
    r.headersOut['Content-Type'] = 'application/json';
    r.return(status, JSON.stringify({
        error: {message: message, type: 'invalid_request_error', param: param, code: code},
    }));
}

let answer;

// Nothing of an event is kept back until more of them come.
const NOW = {last: false, flush: true};

function header(r) {
    answer = {kind: 'other'};
    if (r.status >= 400) {
        answer = {kind: 'error', parts: [], length: 0};
        delete r.headersOut['Content-Length'];
        r.headersOut['Content-Type'] = 'application/json';
    } else if ((r.headersOut['Content-Type'] || '').startsWith('text/event-stream')) {
        const asked = {
            usage: r.variables.slm_usage_asked === '1',
            limit: Number(r.variables.slm_token_limit) || 0,
        };
        const send = (bytes) => bytes.length > 0 && r.sendBuffer(bytes, NOW);
        answer = {kind: 'stream', state: stream.start(asked, send)};
        delete r.headersOut['Content-Length'];
    }
}

function body(r, data, flags) {
    switch (answer.kind) {
    case 'stream':
        mendStream(r, data, flags);
        break;
    case 'error':
        mendError(r, data, flags);
        break;
    default:
        r.sendBuffer(data, flags);
        r.done();
    }
}

function mendStream(r, data, flags) {
    if (!stream.feed(answer.state, data)) {
        r.warn('an event of the engine is longer than a mebibyte, the rest of its stream passes as it is');
        r.sendBuffer('', flags);
        r.done();
        return;
    }
    if (flags.last) {
        answer.state.send(stream.rest(answer.state));
        r.sendBuffer('', flags);
    }
}

function mendError(r, data, flags) {
    if (answer.length < LONGEST_ERROR && data.length > 0) {
        answer.parts.push(data);
        answer.length += data.length;
    }
    if (flags.last) {
        r.sendBuffer(errors.mended(r.status, Buffer.concat(answer.parts).toString()), flags);
    }
}

export default {check, header, body};
