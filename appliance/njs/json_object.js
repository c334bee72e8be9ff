// Walks a JSON object in bytes without making values of it: this engine of JavaScript gives no memory back before the
// request ends. It finds every member of each valid object; what it lets pass of the others is for the engine to refuse.

const QUOTE = 34, COMMA = 44, COLON = 58, BACKSLASH = 92;
const OPEN_LIST = 91, CLOSE_LIST = 93, OPEN_OBJECT = 123, CLOSE_OBJECT = 125;

const MALFORMED = -1;
const TOO_COMPLEX = -2;

// One worker serves many streams, and none of them moves while this runs: about a second at most.
const MOST_STEPS = 2000000;
let steps = 0;

// members(bytes, at, end, visit)   calls visit(keyAt, keyEnd, valueAt, valueEnd) for each member, quotes included.
// Returns where the object ended, MALFORMED, or TOO_COMPLEX.
function members(bytes, at, end, visit) {
    steps = MOST_STEPS;
    return walk(bytes, at, end, visit);
}

function walk(bytes, at, end, visit) {
    let next = skipSpace(bytes, at, end);
    if (next >= end || bytes[next] !== OPEN_OBJECT) {
        return failure();
    }
    next = skipSpace(bytes, next + 1, end);
    if (next < end && bytes[next] === CLOSE_OBJECT) {
        return next + 1;
    }
    while (next < end && bytes[next] === QUOTE && steps > 0) {
        const keyAt = next;
        const keyEnd = stringEnd(bytes, keyAt, end);
        if (keyEnd < 0) {
            break;
        }
        next = skipSpace(bytes, keyEnd, end);
        if (next >= end || bytes[next] !== COLON) {
            break;
        }
        const valueAt = skipSpace(bytes, next + 1, end);
        const valueEnd = endOfValue(bytes, valueAt, end);
        if (valueEnd < 0) {
            break;
        }
        steps -= 20;
        visit(keyAt, keyEnd, valueAt, valueEnd);
        next = skipSpace(bytes, valueEnd, end);
        if (next < end && bytes[next] === CLOSE_OBJECT) {
            return next + 1;
        }
        if (next >= end || bytes[next] !== COMMA) {
            break;
        }
        next = skipSpace(bytes, next + 1, end);
    }
    return failure();
}

function failure() {
    return steps > 0 ? MALFORMED : TOO_COMPLEX;
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

// A member's name; null for one that is longer than `longest` letters, which costs nothing.
function name(bytes, keyAt, keyEnd, longest) {
    // a letter may be written as six bytes
    if (keyEnd - keyAt > 6 * longest + 2) {
        return null;
    }
    const escaped = bytes.indexOf(BACKSLASH, keyAt + 1);
    if (escaped < 0 || escaped >= keyEnd) {
        return keyEnd - keyAt > longest + 2 ? null : bytes.subarray(keyAt + 1, keyEnd - 1).toString();
    }
    return value(bytes, keyAt, keyEnd);
}

// The value of these bytes; undefined when they are no JSON.
function value(bytes, at, end) {
    try {
        return JSON.parse(bytes.subarray(at, end).toString());
    } catch (problem) {
        return undefined;
    }
}

export default {members, name, value, MALFORMED, TOO_COMPLEX};
