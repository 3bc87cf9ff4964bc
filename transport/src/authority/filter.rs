//! Finds HTTP/2 header blocks in the bytes of a client (RFC 9113, sections 3.4, 4.1, 6.2 and 6.10). No I/O.
//!
//! Two ways lead through it. `pass` changes what lies whole in the caller's buffer and says how much of it may go on; `gather` holds
//! back what is incomplete: up to eight bytes of a frame head, or a header block.

use std::ops::Range;

use super::hpack;

const PREFACE: &[u8; 24] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
const HEAD_LEN: usize = 9;
/// SETTINGS_MAX_FRAME_SIZE, which tonic leaves at its default. h2 refuses a longer frame from its head alone.
const MAX_FRAME_LEN: usize = 16_384;
/// Most bytes held back: four times what h2 reads of a header list with our limit of 16 KiB.
pub(super) const MAX_HELD: usize = 64 * 1024;

const HEADERS: u8 = 1;
const CONTINUATION: u8 = 9;
const END_HEADERS: u8 = 0x4;
const PADDED: u8 = 0x8;
const PRIORITY: u8 = 0x20;

/// A frame's head.
#[derive(Clone, Copy)]
struct Head {
    len: usize,
    kind: u8,
    flags: u8,
    stream: u32,
}

impl Head {
    fn read(bytes: &[u8]) -> Option<Self> {
        let [l2, l1, l0, kind, flags, stream @ ..] = *bytes.first_chunk::<HEAD_LEN>()?;
        let len = usize::from(l2) << 16 | usize::from(l1) << 8 | usize::from(l0);
        // The top bit is reserved.
        Some(Self { len, kind, flags, stream: u32::from_be_bytes(stream) & (u32::MAX >> 1) })
    }
}

#[derive(Debug)]
enum State {
    /// So many bytes of the preface have come.
    Preface(usize),
    /// Between frames; `held` has the beginning of a head.
    Boundary,
    /// So many bytes of a frame that is no header block are to come.
    Payload(usize),
    /// `held` has the beginning of a header block.
    Block(Block),
    /// Not HTTP/2, or a violation that h2 answers: all passes.
    Unchanged,
}

#[derive(Debug)]
struct Block {
    stream: u32,
    /// Where the last frame begins.
    frame: usize,
    /// How long `held` must be for the next step.
    need: usize,
    /// The next step is the head of a CONTINUATION.
    head_next: bool,
}

/// The filter of one connection.
#[derive(Debug)]
pub(super) struct Filter {
    state: State,
    held: Vec<u8>,
}

impl Default for Filter {
    fn default() -> Self {
        Self { state: State::Preface(0), held: Vec::new() }
    }
}

impl Filter {
    /// How many leading bytes may go on, after header blocks in them were changed in place. The rest is for `gather`.
    pub(super) fn pass(&mut self, bytes: &mut [u8]) -> usize {
        let mut at = 0;
        loop {
            let rest = bytes.get_mut(at..).unwrap_or_default();
            if rest.is_empty() {
                return at;
            }
            match &mut self.state {
                State::Unchanged => return at + rest.len(),
                State::Block(_) => return at,
                State::Preface(seen) => {
                    let expected = PREFACE.get(*seen..).unwrap_or_default();
                    let now = expected.len().min(rest.len());
                    if rest.get(..now) != expected.get(..now) {
                        self.state = State::Unchanged;
                        continue;
                    }
                    *seen += now;
                    at += now;
                    if *seen == PREFACE.len() {
                        self.state = State::Boundary;
                    }
                }
                State::Payload(left) => {
                    let now = (*left).min(rest.len());
                    *left -= now;
                    at += now;
                    if *left == 0 {
                        self.state = State::Boundary;
                    }
                }
                State::Boundary => {
                    if !self.held.is_empty() {
                        return at;
                    }
                    let Some(head) = Head::read(rest) else { return at };
                    if head.kind == HEADERS {
                        let ends = head.len <= MAX_FRAME_LEN && head.flags & END_HEADERS != 0;
                        let Some(frame) = rest.get_mut(..HEAD_LEN + head.len).filter(|_| ends) else { return at };
                        if !change_one(frame) {
                            return at;
                        }
                        at += frame.len();
                    } else {
                        at += HEAD_LEN;
                        self.skip(head.len);
                    }
                }
            }
        }
    }

    /// Takes all bytes; those that may go on are appended to `out`.
    pub(super) fn gather(&mut self, mut bytes: &mut [u8], out: &mut Vec<u8>) {
        while !bytes.is_empty() {
            let passed = self.pass(bytes);
            let (go, rest) = bytes.split_at_mut(passed);
            out.extend_from_slice(go);
            bytes = rest;
            let used = match &self.state {
                State::Block(_) => self.gather_block(bytes, out),
                State::Boundary => self.gather_head(bytes, out),
                State::Preface(_) | State::Payload(_) | State::Unchanged => 0,
            };
            bytes = bytes.get_mut(used..).unwrap_or_default();
        }
    }

    /// No more bytes will come: what is held goes on as it is.
    pub(super) fn end(&mut self, out: &mut Vec<u8>) {
        out.append(&mut self.held);
        self.state = State::Unchanged;
    }

    fn skip(&mut self, len: usize) {
        self.state = if len == 0 { State::Boundary } else { State::Payload(len) };
    }

    /// Holds bytes back until `held` has `need` of them. How many were taken, and whether it has them.
    fn hold(&mut self, need: usize, bytes: &[u8]) -> (usize, bool) {
        let now = need.saturating_sub(self.held.len()).min(bytes.len());
        self.held.extend_from_slice(bytes.get(..now).unwrap_or_default());
        (now, self.held.len() >= need)
    }

    fn gather_head(&mut self, bytes: &[u8], out: &mut Vec<u8>) -> usize {
        let (used, complete) = self.hold(HEAD_LEN, bytes);
        if !complete {
            return used;
        }
        match Head::read(&self.held) {
            Some(head) if head.kind == HEADERS && head.len <= MAX_FRAME_LEN => {
                let need = HEAD_LEN + head.len;
                self.state = State::Block(Block { stream: head.stream, frame: 0, need, head_next: false });
                // An empty frame is complete with its head.
                return used + self.gather_block(&[], out);
            }
            Some(head) if head.kind != HEADERS => {
                out.append(&mut self.held);
                self.skip(head.len);
            }
            _ => self.end(out),
        }
        used
    }

    fn gather_block(&mut self, bytes: &[u8], out: &mut Vec<u8>) -> usize {
        let mut used = 0;
        while let State::Block(Block { stream, frame, need, head_next }) = self.state {
            let (taken, complete) = self.hold(need, bytes.get(used..).unwrap_or_default());
            used += taken;
            if !complete {
                break;
            }
            let Some(head) = self.held.get(frame..).and_then(Head::read) else {
                self.end(out);
                break;
            };
            if head_next {
                let longer = need + head.len;
                if head.kind != CONTINUATION || head.stream != stream || head.len > MAX_FRAME_LEN || longer > MAX_HELD {
                    self.end(out);
                    break;
                }
                self.state = State::Block(Block { stream, frame, need: longer, head_next: false });
            } else if head.flags & END_HEADERS == 0 {
                self.state = State::Block(Block { stream, frame: need, need: need + HEAD_LEN, head_next: true });
            } else {
                change_block(&mut self.held);
                out.append(&mut self.held);
                // Capacity is not kept: most connections gather a block once, if ever.
                (self.held, self.state) = (Vec::new(), State::Boundary);
            }
        }
        used
    }
}

/// Changes one whole HEADERS frame where it lies; false if its length would have to change.
fn change_one(frame: &mut [u8]) -> bool {
    let Some(fragments) = fragments(frame) else { return true };
    let [range] = fragments.as_slice() else { return true };
    let Some(block) = frame.get_mut(range.clone()) else { return true };
    hpack::change(block).is_none()
}

/// Changes a header block in the frames that carry it.
fn change_block(frames: &mut Vec<u8>) {
    let Some(fragments) = fragments(frames) else { return };
    if let [range] = fragments.as_slice() {
        let Some(empty) = frames.get_mut(range.clone()).and_then(hpack::change) else { return };
        remove(frames, range.start + empty.start..range.start + empty.end);
        return;
    }
    let mut block = Vec::new();
    for range in &fragments {
        block.extend_from_slice(frames.get(range.clone()).unwrap_or_default());
    }
    // An empty value can't be removed here; h2 refuses it.
    let _ = hpack::change(&mut block);
    let mut changed = block.as_slice();
    for range in fragments {
        let Some(fragment) = frames.get_mut(range) else { return };
        let Some((now, rest)) = changed.split_at_checked(fragment.len()) else { return };
        fragment.copy_from_slice(now);
        changed = rest;
    }
}

/// Takes bytes out of the only frame and corrects its length.
fn remove(frame: &mut Vec<u8>, range: Range<usize>) {
    let Some(head) = Head::read(frame) else { return };
    let Some(len) = head.len.checked_sub(range.len()) else { return };
    let [.., l2, l1, l0] = len.to_be_bytes();
    frame.drain(range);
    if let Some(length) = frame.first_chunk_mut::<3>() {
        *length = [l2, l1, l0];
    }
}

/// Where the pieces of the header block lie in its frames, without padding and priority. `None`: padding that does not fit, h2's to answer.
fn fragments(frames: &[u8]) -> Option<Vec<Range<usize>>> {
    let (mut at, mut found) = (0, Vec::with_capacity(1));
    while let Some(head) = frames.get(at..).and_then(Head::read) {
        let (mut start, mut end) = (at + HEAD_LEN, at + HEAD_LEN + head.len);
        if head.kind == HEADERS {
            if head.flags & PADDED != 0 {
                let padding = usize::from(*frames.get(start)?);
                start += 1;
                end = end.checked_sub(padding)?;
            }
            if head.flags & PRIORITY != 0 {
                start += 5;
            }
        }
        if start > end {
            return None;
        }
        found.push(start..end);
        at += HEAD_LEN + head.len;
    }
    Some(found)
}
