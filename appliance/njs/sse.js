// Server-sent events out of bytes that are cut anywhere: whole events are handed on at the byte that ends them, and no
// more than one is held. A comment before an event is handed on by itself, for it keeps a silent connection alive.
// Lines end with LF, CR or CRLF.

const LF = 10, CR = 13, SPACE = 32, COLON = 58;

// What is held of one event before it is given up on: a line without an end must not fill the memory.
const LONGEST_EVENT = 1048576;

// framer(take)   take(event) is called with each whole event, its blank line included, in order; it answers whether
// anything of the event was sent.
function framer(take) {
    return {take: take, parts: [], held: 0, lineIsEmpty: true, skipLf: false, sent: false};
}

// feed(state, bytes)   Returns false when an event has become too long: `rest` is what is held then.
function feed(state, bytes) {
    let from = 0;
    let next = 0;
    if (bytes.length === 0) {
        return true;
    }
    if (state.skipLf && bytes[0] === LF) {
        next = 1;
        if (state.held === 0) {
            // what it belongs to has gone
            if (state.sent) {
                state.take(bytes.subarray(0, 1));
            }
            from = 1;
        }
    }
    state.skipLf = false;
    let cr = bytes.indexOf(CR, next);
    while (next < bytes.length) {
        const lf = bytes.indexOf(LF, next);
        if (cr >= 0 && cr < next) {
            cr = bytes.indexOf(CR, next);
        }
        const end = cr < 0 || (lf >= 0 && lf < cr) ? lf : cr;
        if (end < 0) {
            state.lineIsEmpty = false;
            break;
        }
        const blank = state.lineIsEmpty && end === next;
        next = end + 1;
        if (bytes[end] === CR) {
            if (next === bytes.length) {
                state.skipLf = true;
            } else if (bytes[next] === LF) {
                next++;
            }
        }
        state.lineIsEmpty = true;
        if (blank || firstByte(state, bytes, from) === COLON) {
            state.sent = state.take(whole(state, part(bytes, from, next)));
            from = next;
        }
    }
    if (from < bytes.length) {
        state.parts.push(part(bytes, from, bytes.length));
        state.held += bytes.length - from;
    }
    return state.held <= LONGEST_EVENT;
}

function part(bytes, from, to) {
    return from === 0 && to === bytes.length ? bytes : bytes.subarray(from, to);
}

function firstByte(state, bytes, from) {
    return state.held > 0 ? state.parts[0][0] : bytes[from];
}

function whole(state, last) {
    if (state.held === 0) {
        return last;
    }
    state.parts.push(last);
    return rest(state);
}

// What is held of an event that didn't end; nothing is held afterwards.
function rest(state) {
    const held = state.parts.length === 1 ? state.parts[0] : Buffer.concat(state.parts);
    state.parts = [];
    state.held = 0;
    return held;
}

// Where the value of an event's one `data` line stands, after hasData(event) was true; one object for all.
const data = {at: 0, end: 0};

// False for an event with no data or with several lines of it.
function hasData(event) {
    let lines = 0;
    let at = 0;
    while (at < event.length) {
        const lf = event.indexOf(LF, at);
        const cr = event.indexOf(CR, at);
        const end = cr < 0 || (lf >= 0 && lf < cr) ? lf : cr;
        if (end < 0) {
            return false;
        }
        if (event.indexOf('data:', at) === at) {
            lines++;
            data.at = event[at + 5] === SPACE ? at + 6 : at + 5;
            data.end = end;
        }
        at = end + 1;
    }
    return lines === 1;
}

export default {framer, feed, rest, hasData, data};
