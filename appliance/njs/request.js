// What a request asks for, as far as the proxy must know it.
import json from 'json_object.js';

const LONGEST_NAME = 14;

// read(bytes)   {problem, models, usage, limit}: problem is '' or a word of PROBLEMS, models each name the request
// gives its model, usage whether a stream shall end with its usage, limit the tokens the answer may have, 0 if not told.
//
// Every member called `model` counts, in any letters: the engine may go by another of them than the first or the last.
function read(bytes) {
    const asked = {problem: '', models: [], usage: false, limit: 0};
    // no bytes at all are not even a buffer that can be read
    if (!bytes || bytes.length === 0) {
        asked.problem = 'malformed';
        return asked;
    }
    json.start(bytes, 0, bytes.length);
    while (json.next()) {
        const name = json.name(LONGEST_NAME);
        switch (typeof name === 'string' ? name.toLowerCase() : '') {
        case 'model':
            asked.problem = asked.problem || addModel(asked.models, told(bytes));
            break;
        case 'stream_options':
            asked.usage = wantsUsage(told(bytes));
            break;
        case 'max_tokens':
            asked.limit = wholeNumber(told(bytes));
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

function told(bytes) {
    return json.value(bytes, json.member.at, json.member.end);
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
