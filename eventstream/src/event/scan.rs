//! A JSON scanner that builds nothing: it checks the grammar and finds where values start and end.
//!
//! It makes the only pass over a consumed record. It accepts RFC 8259, with one leniency taken from Go: a `\u` escape
//! may be half of a surrogate pair.

/// The maximum nesting depth, the same as in Go's decoder.
const MAX_DEPTH: usize = 10_000;

/// Why the text is rejected, and where.
#[derive(Clone, Copy, Debug)]
pub(super) struct Flaw {
    /// Byte offset in the scanned slice.
    pub(super) at: usize,
    pub(super) what: &'static str,
    /// What was found instead, if that helps.
    pub(super) found: Option<&'static str>,
}

/// A string's content, between its quotes.
#[derive(Clone, Copy)]
pub(super) struct Text {
    pub(super) start: usize,
    pub(super) end: usize,
    /// Whether the content has `\` escapes, so that it has to be unescaped.
    pub(super) escaped: bool,
}

/// A position in UTF-8 text.
pub(super) struct Scanner<'a> {
    bytes: &'a [u8],
    pos: usize,
}

impl<'a> Scanner<'a> {
    pub(super) fn new(bytes: &'a [u8], pos: usize) -> Self {
        Self { bytes, pos }
    }

    pub(super) fn pos(&self) -> usize {
        self.pos
    }

    /// The byte at the position, or 0 at the end: no JSON token starts with NUL.
    pub(super) fn peek(&self) -> u8 {
        self.bytes.get(self.pos).copied().unwrap_or(0)
    }

    /// Steps over the byte that [`peek`](Self::peek) showed.
    pub(super) fn bump(&mut self) {
        self.pos += 1;
    }

    #[inline]
    pub(super) fn whitespace(&mut self) {
        // Compact text has none, so one comparison suffices instead of four.
        if self.peek() > b' ' {
            return;
        }
        while matches!(self.peek(), b' ' | b'\n' | b'\r' | b'\t') {
            self.pos += 1;
        }
    }

    /// Whether only whitespace is left.
    pub(super) fn at_end(&mut self) -> bool {
        self.whitespace();
        self.pos >= self.bytes.len()
    }

    #[cold]
    pub(super) fn flaw(&self, what: &'static str) -> Flaw {
        let at_end = self.pos >= self.bytes.len();
        Flaw {
            at: self.pos.min(self.bytes.len()),
            what: if at_end {
                "the text ends unexpectedly"
            } else {
                what
            },
            found: None,
        }
    }

    /// The flaw for a value of the wrong type.
    #[cold]
    pub(super) fn wrong_type(&self, expected: &'static str) -> Flaw {
        let found = match self.peek() {
            b'"' => "a string",
            b'{' => "an object",
            b'[' => "an array",
            b't' | b'f' => "a boolean",
            b'n' => "null",
            b'-' | b'0'..=b'9' => "a number",
            _ => return self.flaw("expected a value"),
        };
        Flaw {
            found: Some(found),
            ..self.flaw(expected)
        }
    }

    /// A string; the position is at its opening quote.
    #[inline]
    pub(super) fn string(&mut self) -> Result<Text, Flaw> {
        self.pos += 1;
        let start = self.pos;
        let mut escaped = false;
        loop {
            self.pos += plain_len(&self.bytes[self.pos..]);
            match self.peek() {
                b'"' => break,
                b'\\' => {
                    escaped = true;
                    self.escape()?;
                }
                _ => return Err(self.flaw("a string contains a control character")),
            }
        }
        let end = self.pos;
        self.pos += 1;
        Ok(Text {
            start,
            end,
            escaped,
        })
    }

    fn escape(&mut self) -> Result<(), Flaw> {
        self.pos += 1;
        match self.peek() {
            b'"' | b'\\' | b'/' | b'b' | b'f' | b'n' | b'r' | b't' => self.pos += 1,
            b'u' => {
                self.pos += 1;
                for _ in 0..4 {
                    if !self.peek().is_ascii_hexdigit() {
                        return Err(self.flaw("a \\u escape needs four hex digits"));
                    }
                    self.pos += 1;
                }
            }
            _ => return Err(self.flaw("a string contains an unknown escape")),
        }
        Ok(())
    }

    /// An object's key and the colon after it.
    #[inline]
    pub(super) fn key(&mut self) -> Result<Text, Flaw> {
        if self.peek() != b'"' {
            return Err(self.flaw("expected a key"));
        }
        let key = self.string()?;
        self.whitespace();
        if self.peek() != b':' {
            return Err(self.flaw("expected a colon after the key"));
        }
        self.pos += 1;
        Ok(key)
    }

    pub(super) fn literal(&mut self, word: &'static str) -> Result<(), Flaw> {
        if !self.bytes[self.pos..].starts_with(word.as_bytes()) {
            return Err(self.flaw("expected a value"));
        }
        self.pos += word.len();
        Ok(())
    }

    /// A number; true if it is written as an integer.
    pub(super) fn number(&mut self) -> Result<bool, Flaw> {
        if self.peek() == b'-' {
            self.pos += 1;
        }
        if self.peek() == b'0' {
            self.pos += 1;
        } else {
            self.digits()?;
        }
        let mut integer = true;
        if self.peek() == b'.' {
            integer = false;
            self.pos += 1;
            self.digits()?;
        }
        if matches!(self.peek(), b'e' | b'E') {
            integer = false;
            self.pos += 1;
            if matches!(self.peek(), b'+' | b'-') {
                self.pos += 1;
            }
            self.digits()?;
        }
        Ok(integer)
    }

    fn digits(&mut self) -> Result<(), Flaw> {
        let start = self.pos;
        while self.peek().is_ascii_digit() {
            self.pos += 1;
        }
        if self.pos == start {
            return Err(self.flaw("expected a digit"));
        }
        Ok(())
    }

    /// Any value, inside `depth` open containers.
    pub(super) fn skip_value(&mut self, depth: usize) -> Result<(), Flaw> {
        // A loop, not recursion: the sender chooses the depth, and the stack is ours.
        let mut open = Nest::default();
        loop {
            self.whitespace();
            match self.peek() {
                b'"' => {
                    self.string()?;
                }
                bracket @ (b'{' | b'[') => {
                    if depth + open.depth >= MAX_DEPTH {
                        return Err(self.flaw("the nesting is deeper than 10000"));
                    }
                    let object = bracket == b'{';
                    self.pos += 1;
                    self.whitespace();
                    if self.peek() == if object { b'}' } else { b']' } {
                        self.pos += 1;
                    } else {
                        open.push(object);
                        if object {
                            self.key()?;
                        }
                        continue;
                    }
                }
                b'-' | b'0'..=b'9' => {
                    self.number()?;
                }
                b't' => self.literal("true")?,
                b'f' => self.literal("false")?,
                b'n' => self.literal("null")?,
                _ => return Err(self.flaw("expected a value")),
            }
            // A value has ended, and possibly the containers around it.
            loop {
                if open.depth == 0 {
                    return Ok(());
                }
                self.whitespace();
                match (self.peek(), open.in_object) {
                    (b',', true) => {
                        self.pos += 1;
                        self.whitespace();
                        self.key()?;
                        break;
                    }
                    (b',', false) => {
                        self.pos += 1;
                        break;
                    }
                    (b'}', true) | (b']', false) => {
                        self.pos += 1;
                        open.pop();
                    }
                    (_, true) => return Err(self.flaw("expected a comma or }")),
                    (_, false) => return Err(self.flaw("expected a comma or ]")),
                }
            }
        }
    }
}

/// Which open containers are objects: a stack of bits, on the heap only beyond 64 levels.
#[derive(Default)]
struct Nest {
    depth: usize,
    /// Whether the innermost container is an object.
    in_object: bool,
    /// The outer containers, the latest in the lowest bit.
    outer: u64,
    spilled: Vec<u64>,
}

impl Nest {
    fn push(&mut self, object: bool) {
        if self.depth > 0 && self.depth.is_multiple_of(64) {
            self.spilled.push(self.outer);
        }
        self.outer = self.outer << 1 | u64::from(self.in_object);
        self.in_object = object;
        self.depth += 1;
    }

    fn pop(&mut self) {
        self.in_object = self.outer & 1 == 1;
        self.outer >>= 1;
        self.depth -= 1;
        if self.depth > 0 && self.depth.is_multiple_of(64) {
            self.outer = self.spilled.pop().unwrap_or(0);
        }
    }
}

/// How many leading bytes need no attention inside a string: no quote, backslash or control character.
#[inline]
pub(super) fn plain_len(bytes: &[u8]) -> usize {
    let (blocks, rest) = bytes.as_chunks::<BLOCK>();
    for (i, block) in blocks.iter().enumerate() {
        if let Some(at) = attention(block) {
            return i * BLOCK + at;
        }
    }
    // The remaining bytes, together with plain ones before them, fill a block again.
    if let (false, Some(last)) = (rest.is_empty(), bytes.last_chunk::<BLOCK>()) {
        return attention(last).map_or(bytes.len(), |at| bytes.len() - BLOCK + at);
    }
    let done = bytes.len() - rest.len();
    let plain = |b: &u8| *b >= 0x20 && *b != b'"' && *b != b'\\';
    done + rest.iter().take_while(|b| plain(b)).count()
}

#[cfg(target_arch = "x86_64")]
const BLOCK: usize = 16;

/// The first byte of a block that needs attention.
#[cfg(target_arch = "x86_64")]
#[inline]
fn attention(block: &[u8; BLOCK]) -> Option<usize> {
    // SAFETY: every processor of this kind has SSE2.
    let flags = unsafe { flags(block) };
    (flags != 0).then(|| flags.trailing_zeros() as usize)
}

/// A bit for each byte that needs attention.
#[cfg(target_arch = "x86_64")]
#[inline]
#[target_feature(enable = "sse2")]
fn flags(block: &[u8; BLOCK]) -> i32 {
    use std::arch::x86_64::{
        _mm_cmpeq_epi8, _mm_min_epu8, _mm_movemask_epi8, _mm_or_si128, _mm_set_epi64x,
        _mm_set1_epi8,
    };
    let (halves, _) = block.as_chunks::<8>();
    let half = |at: usize| i64::from_le_bytes(halves[at]);
    let bytes = _mm_set_epi64x(half(1), half(0));
    let quotes = _mm_cmpeq_epi8(bytes, _mm_set1_epi8(b'"'.cast_signed()));
    let backslashes = _mm_cmpeq_epi8(bytes, _mm_set1_epi8(b'\\'.cast_signed()));
    let controls = _mm_cmpeq_epi8(_mm_min_epu8(bytes, _mm_set1_epi8(0x1f)), bytes);
    _mm_movemask_epi8(_mm_or_si128(_mm_or_si128(quotes, backslashes), controls))
}

#[cfg(not(target_arch = "x86_64"))]
const BLOCK: usize = 8;

/// The first byte of a block that needs attention.
#[cfg(not(target_arch = "x86_64"))]
#[inline]
fn attention(block: &[u8; BLOCK]) -> Option<usize> {
    const LOW: u64 = 0x0101_0101_0101_0101;
    const QUOTES: u64 = u64::from_ne_bytes([b'"'; 8]);
    const BACKSLASHES: u64 = u64::from_ne_bytes([b'\\'; 8]);
    const SPACES: u64 = u64::from_ne_bytes([b' '; 8]);
    const HIGH: u64 = 0x8080_8080_8080_8080;
    // A borrow can only flag a byte wrongly above one flagged correctly, and only the lowest flag is used.
    let word = u64::from_le_bytes(*block);
    let quote = word ^ QUOTES;
    let backslash = word ^ BACKSLASHES;
    let flagged = (quote.wrapping_sub(LOW) & !quote
        | backslash.wrapping_sub(LOW) & !backslash
        | word.wrapping_sub(SPACES) & !word)
        & HIGH;
    (flagged != 0).then(|| flagged.trailing_zeros() as usize / 8)
}
