// Server-sent events out of bytes that are cut anywhere: whole events are handed on at the byte that ends them, and no
// more than one is held. A comment before an event is handed on by itself, for it keeps a silent connection alive.
// Lines end with LF, CR or CRLF.

const LF = 10, CR = 13, COLON = 58;

// What is held of one event before it is given up on: a line without an end must not fill the memory.
const LONGEST_EVENT = 1048576;

function framer() {
    return {parts: [], held: 0, lineIsEmpty: true, skipLf: false, sent: false};
}

// feed(state, bytes, take)   calls take(event) for each whole event, its blank line included, in order; it answers
// whether anything of the event was sent. Returns false when an event has become too long: `rest` is what is held then.
function feed(state, bytes, take) {
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
                take(bytes.subarray(0, 1));
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
            state.sent = take(whole(state, bytes.subarray(from, next)));
            from = next;
        }
    }
    if (from < bytes.length) {
        state.parts.push(bytes.subarray(from));
        state.held += bytes.length - from;
    }
    return state.held <= LONGEST_EVENT;
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

// The bytes of the one `data` line of an event, [at, end]; null for an event with none or several.
function data(event) {
    let found = null;
    let at = 0;
    let cr = event.indexOf(CR);
    while (at < event.length) {
        let end = event.indexOf(LF, at);
        if (cr >= 0 && cr < at) {
            cr = event.indexOf(CR, at);
        }
        if (end < 0 || (cr >= 0 && cr < end)) {
            end = cr;
        }
        if (end < 0) {
            return null;
        }
        // "data:"
        if (event[at] === 100 && event[at + 1] === 97 && event[at + 2] === 116 && event[at + 3] === 97 &&
            event[at + 4] === 58) {
            if (found !== null) {
                return null;
            }
            found = [event[at + 5] === 32 ? at + 6 : at + 5, end];
        }
        at = end + 1;
    }
    return found;
}

export default {framer, feed, rest, data};
