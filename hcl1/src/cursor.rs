//! A position in a text that moves one character at a time.

use crate::Position;

/// Reads a text character by character and knows line and column.
pub(crate) struct Cursor<'t> {
    text: &'t str,
    offset: usize,
    position: Position,
}

impl<'t> Cursor<'t> {
    /// Starts at the beginning; a byte order mark there says nothing.
    pub(crate) fn new(text: &'t str) -> Self {
        let text = text.strip_prefix('\u{feff}').unwrap_or(text);
        Self { text, offset: 0, position: Position { line: 1, column: 1 } }
    }

    /// Where the next character stands.
    pub(crate) fn position(&self) -> Position {
        self.position
    }

    /// The byte offset of the next character, for [`Cursor::since`].
    pub(crate) fn offset(&self) -> usize {
        self.offset
    }

    /// What was read since `offset`.
    pub(crate) fn since(&self, offset: usize) -> &'t str {
        self.text.get(offset..self.offset).unwrap_or_default()
    }

    /// What is left.
    pub(crate) fn rest(&self) -> &'t str {
        self.text.get(self.offset..).unwrap_or_default()
    }

    /// The next character.
    pub(crate) fn peek(&self) -> Option<char> {
        self.rest().chars().next()
    }

    /// The character after the next one.
    pub(crate) fn peek_second(&self) -> Option<char> {
        self.rest().chars().nth(1)
    }

    /// Takes the next character.
    pub(crate) fn bump(&mut self) -> Option<char> {
        let next = self.peek()?;
        self.offset += next.len_utf8();
        if next == '\n' {
            self.position.line = self.position.line.saturating_add(1);
            self.position.column = 1;
        } else {
            self.position.column = self.position.column.saturating_add(1);
        }
        Some(next)
    }

    /// Takes the next character if it is `wanted`.
    pub(crate) fn eat(&mut self, wanted: char) -> bool {
        let there = self.peek() == Some(wanted);
        if there {
            self.bump();
        }
        there
    }

    /// Takes characters while they fit, and gives them.
    pub(crate) fn take_while(&mut self, fits: impl Fn(char) -> bool) -> &'t str {
        let start = self.offset;
        while self.peek().is_some_and(&fits) {
            self.bump();
        }
        self.since(start)
    }
}
