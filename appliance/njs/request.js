// What a request asks for, as far as the proxy must know it.
import json from 'json_object.js';

const LONGEST_NAME = 14;

// The least and the most that OpenAI's API allows; null means not told. A limit of -1 is not OpenAI's, but what clients of
// local models send where they want none.
const BOUNDS = {
    temperature: [0, 2],
    n: [1, 128],
    max_tokens: [-1, 9007199254740991],
};

// The letter that null begins with is no other value's.
const OPEN_LIST = 91, CLOSE_LIST = 93, NULL = 110;

// read(bytes)   {problem, param, messages, prompt, models, usage, limit}: problem is '' or a word of PROBLEMS, param the
// member that has it where it is one, messages whether there is a list of them with one at least, prompt whether there is
// one, models each name the request gives its model, usage whether a stream shall end with its usage, limit the tokens the
// answer may have, 0 if not told.
//
// Every member called `model` counts, in any letters: the engine may go by another of them than the first or the last.
function read(bytes) {
    const asked = {problem: '', param: null, messages: false, prompt: false, models: [], usage: false, limit: 0};
    // no bytes at all are not even a buffer that can be read
    if (!bytes || bytes.length === 0) {
        asked.problem = 'malformed';
        return asked;
    }
    json.start(bytes, 0, bytes.length);
    while (json.next()) {
        const told = json.name(LONGEST_NAME);
        const name = typeof told === 'string' ? told.toLowerCase() : '';
        switch (name) {
        case 'model':
            asked.problem = asked.problem || addModel(asked.models, valueOf(bytes));
            break;
        case 'messages':
            asked.messages = bytes[json.member.at] === OPEN_LIST && !isEmptyList(bytes);
            break;
        case 'prompt':
            asked.prompt = bytes[json.member.at] !== NULL && !isEmptyList(bytes);
            break;
        case 'stream_options':
            asked.usage = wantsUsage(valueOf(bytes));
            break;
        case 'max_tokens':
            asked.limit = wholeNumber(valueOf(bytes));
            checkBounds(asked, name, valueOf(bytes));
            break;
        case 'temperature':
        case 'n':
            checkBounds(asked, name, valueOf(bytes));
            break;
        }
    }
    const ended = json.result();
    if (ended === json.MALFORMED) {
        asked.problem = 'malformed';
    } else if (ended === json.TOO_COMPLEX) {
        asked.problem = 'complex';
    }
    return asked;
}

function valueOf(bytes) {
    return json.value(bytes, json.member.at, json.member.end);
}

function isEmptyList(bytes) {
    return bytes[json.member.at] === OPEN_LIST &&
        bytes[json.skipSpace(bytes, json.member.at + 1, json.member.end)] === CLOSE_LIST;
}

// What is no number the engine refuses by itself.
function checkBounds(asked, name, value) {
    if (asked.problem === '' && typeof value === 'number' && (value < BOUNDS[name][0] || value > BOUNDS[name][1])) {
        asked.problem = 'bounds';
        asked.param = name;
    }
}

// An engine takes null and an empty name for a model that isn't named.
function addModel(models, model) {
    if (model === null || model === '') {
        return '';
    }
    if (typeof model !== 'string') {
        return 'model';
    }
    if (!models.includes(model)) {
        models.push(model);
    }
    return '';
}

function wantsUsage(options) {
    return typeof options === 'object' && options !== null && options.include_usage === true;
}

function wholeNumber(limit) {
    return typeof limit === 'number' && limit > 0 && limit % 1 === 0 ? limit : 0;
}

export default {read};
