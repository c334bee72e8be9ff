// An engine's error in OpenAI's form: {"error": {"message", "type", "param", "code"}}, all four told.

// What llama.cpp says of a prompt that is longer than its context, whoever passes it on.
const OVERFLOW = /exceeds? the available context size/;

// Who called whom, before the words that tell what was wrong.
const CALLS = /^(rpc error: code = [A-Za-z]+ desc = |code=[0-9]+, message=)+/;

const CODES = {400: 'bad_request', 404: 'not_found', 422: 'unprocessable', 500: 'engine_error', 503: 'engine_unavailable'};

// shape(status, message, told)   told: the engine's own fields, as far as there are any.
function shape(status, message, told) {
    const said = message.replace(CALLS, '') || 'The language model engine failed.';
    const overflow = OVERFLOW.test(said);
    const blamesClient = overflow || status < 500;
    return {
        error: {
            message: said,
            type: !overflow && told.type || (blamesClient ? 'invalid_request_error' : 'server_error'),
            param: told.param || null,
            code: overflow ? 'context_length_exceeded' : words(told.code) || CODES[status] || 'engine_error',
        },
    };
}

function words(code) {
    return typeof code === 'string' ? code : '';
}

// mended(status, text)   the body of an error answer, whatever the engine made of it.
function mended(status, text) {
    let told;
    try {
        told = JSON.parse(text).error;
    } catch (problem) {
        told = null;
    }
    if (typeof told === 'string') {
        told = {message: told};
    }
    if (!told || typeof told.message !== 'string') {
        told = {message: ''};
    }
    return JSON.stringify(shape(status, told.message, told));
}

export default {shape, mended};
