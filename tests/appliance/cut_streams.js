// Runs the appliance's njs modules on given bytes, in the njs that nginx has: cuts are where the stream is cut.
import json from 'json_object.js';
import request from 'request.js';
import stream from 'stream.js';

function cut(r) {
    const wish = JSON.parse(r.requestText);
    const bytes = Buffer.from(wish.stream, 'base64');
    r.return(200, JSON.stringify(wish.cuts.map((cuts) => run(bytes, cuts, wish.asked))));
}

// [what was sent before the end, what was held at the end], both in base64.
function run(bytes, cuts, asked) {
    const sent = [];
    const state = stream.start(asked, (part) => sent.push(Buffer.from(part)));
    let from = 0;
    for (let next = 0; next <= cuts.length; next++) {
        const to = next < cuts.length ? cuts[next] : bytes.length;
        stream.feed(state, Buffer.from(bytes.subarray(from, to)));
        from = to;
    }
    const held = stream.rest(state);
    return [Buffer.concat(sent).toString('base64'), held.length > 0 ? held.toString('base64') : ''];
}

// Each member's place as [keyAt, keyEnd, valueAt, valueEnd], or what is wrong.
function members(r) {
    const bytes = r.requestBuffer;
    const found = [];
    const member = json.member;
    json.start(bytes, 0, bytes.length);
    while (json.next()) {
        found.push([member.keyAt, member.keyEnd, member.at, member.end]);
    }
    r.return(200, JSON.stringify({ended: json.result(), members: found}));
}

function read(r) {
    r.return(200, JSON.stringify(request.read(r.requestBuffer)));
}

export default {cut, members, read};
