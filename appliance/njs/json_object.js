// Walks a JSON object in bytes without making values of it, nor objects of its own: njs gives no memory back before the
// request ends. It finds every member of each valid object; what it lets pass of the others is for the engine to refuse.

const QUOTE = 34, COMMA = 44, COLON = 58, BACKSLASH = 92;
const OPEN_LIST = 91, CLOSE_LIST = 93, OPEN_OBJECT = 123, CLOSE_OBJECT = 125;

const MALFORMED = -1;
const TOO_COMPLEX = -2;

// One worker serves many streams, and none of them moves while this runs: about a second at most.
const MOST_STEPS = 2000000;
let steps = 0;

// The member that `next` found, quotes included; one object for all, see above.
const member = {keyAt: 0, keyEnd: 0, at: 0, end: 0};

let source;
let limit = 0;
let place = 0;
let ended = 0;
let isFirst = true;

// start(bytes, at, end)   begins with the object that stands there; while (next()) then finds `member` after `member`,
// and result() tells where the object ended, MALFORMED or TOO_COMPLEX. One object at a time.
function start(bytes, at, end) {
    steps = MOST_STEPS;
    source = bytes;
    limit = end;
    place = skipSpace(bytes, at, end);
    isFirst = true;
    ended = place < end && bytes[place] === OPEN_OBJECT ? 0 : MALFORMED;
}

function next() {
    if (ended !== 0) {
        return false;
    }
    if (!isFirst && source[place] === CLOSE_OBJECT) {
        ended = place + 1;
        return false;
    }
    const after = skipSpace(source, place + 1, limit);
    if (isFirst && after < limit && source[after] === CLOSE_OBJECT) {
        ended = after + 1;
        return false;
    }
    isFirst = false;
    if (!isMember(after)) {
        ended = steps > 0 ? MALFORMED : TOO_COMPLEX;
        return false;
    }
    steps -= 20;
    return true;
}

// Reads a member and the comma or brace behind it, on which `place` then stands.
function isMember(at) {
    if (at >= limit || source[at] !== QUOTE) {
        return false;
    }
    member.keyAt = at;
    member.keyEnd = stringEnd(source, at, limit);
    if (member.keyEnd < 0) {
        return false;
    }
    const colon = skipSpace(source, member.keyEnd, limit);
    if (colon >= limit || source[colon] !== COLON) {
        return false;
    }
    member.at = skipSpace(source, colon + 1, limit);
    member.end = endOfValue(source, member.at, limit);
    if (member.end < 0) {
        return false;
    }
    place = skipSpace(source, member.end, limit);
    return place < limit && (source[place] === COMMA || source[place] === CLOSE_OBJECT);
}

function result() {
    return ended;
}

function skipSpace(bytes, at, end) {
    let byte = bytes[at];
    while (at < end && steps > 0 && (byte === 32 || byte === 10 || byte === 13 || byte === 9)) {
        steps--;
        byte = bytes[++at];
    }
    return at;
}

// From an opening quote to behind the closing one; -1 when there is none.
function stringEnd(bytes, at, end) {
    let quote = at;
    while (steps > 0) {
        steps--;
        quote = bytes.indexOf(QUOTE, quote + 1);
        if (quote < 0 || quote >= end) {
            return -1;
        }
        let before = quote - 1;
        while (bytes[before] === BACKSLASH) {
            before--;
            steps--;
        }
        if ((quote - before) % 2 === 1) {
            return quote + 1;
        }
    }
    return -1;
}

function endOfValue(bytes, at, end) {
    const first = bytes[at];
    if (at >= end) {
        return -1;
    }
    if (first === QUOTE) {
        return stringEnd(bytes, at, end);
    }
    if (first === OPEN_OBJECT || first === OPEN_LIST) {
        return endOfNest(bytes, at, end);
    }
    let next = at;
    while (next < end && steps > 0 && !endsWord(bytes[next])) {
        steps--;
        next++;
    }
    return next > at ? next : -1;
}

function endsWord(byte) {
    return byte === COMMA || byte === CLOSE_OBJECT || byte === CLOSE_LIST || byte <= 32;
}

function endOfNest(bytes, at, end) {
    let depth = 0;
    let next = at;
    while (next < end && steps > 0) {
        const byte = bytes[next];
        steps--;
        if (byte === QUOTE) {
            next = stringEnd(bytes, next, end);
            if (next < 0) {
                return -1;
            }
            continue;
        }
        next++;
        if (byte === OPEN_OBJECT || byte === OPEN_LIST) {
            depth++;
        } else if (byte === CLOSE_OBJECT || byte === CLOSE_LIST) {
            depth--;
            if (depth === 0) {
                return next;
            }
        }
    }
    return -1;
}

// The member's name; null for one that is longer than `longest` letters, which costs nothing.
function name(longest) {
    const length = member.keyEnd - member.keyAt - 2;
    // a letter may be written as six bytes
    if (length > 6 * longest) {
        return null;
    }
    const escaped = source.indexOf(BACKSLASH, member.keyAt);
    if (escaped < 0 || escaped >= member.keyEnd) {
        return length > longest ? null : source.subarray(member.keyAt + 1, member.keyEnd - 1).toString();
    }
    return value(source, member.keyAt, member.keyEnd);
}

// The value of these bytes; undefined when they are no JSON.
function value(bytes, at, end) {
    try {
        return JSON.parse(bytes.subarray(at, end).toString());
    } catch (problem) {
        return undefined;
    }
}

export default {start, next, member, result, skipSpace, name, value, MALFORMED, TOO_COMPLEX};
