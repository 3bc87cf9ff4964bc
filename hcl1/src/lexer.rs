//! The tokens of HCL1.

use crate::cursor::Cursor;
use crate::literal;
use crate::{Position, SyntaxError};

/// A token, with its text where it has one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Token {
    /// A letter or `_`, then letters, digits, `_`, `-` and `.`.
    Identifier(String),
    /// A quoted string or a heredoc; only the former can be a key.
    Text {
        value: String,
        heredoc: bool,
    },
    Number(String),
    Float(String),
    Bool(bool),
    Assign,
    Comma,
    OpenBlock,
    CloseBlock,
    OpenList,
    CloseList,
    End,
}

impl Token {
    /// What a message says was found. Never the text of a value: a secret without quotes would get into the log.
    pub(crate) fn describe(&self) -> String {
        match self {
            Self::Identifier(_) => "a word without quotes".to_owned(),
            Self::Text { heredoc: false, .. } => "a string".to_owned(),
            Self::Text { heredoc: true, .. } => "a heredoc".to_owned(),
            Self::Number(_) | Self::Float(_) => "a number".to_owned(),
            Self::Bool(value) => value.to_string(),
            Self::Assign => "'='".to_owned(),
            Self::Comma => "','".to_owned(),
            Self::OpenBlock => "'{'".to_owned(),
            Self::CloseBlock => "'}'".to_owned(),
            Self::OpenList => "'['".to_owned(),
            Self::CloseList => "']'".to_owned(),
            Self::End => "the end of the file".to_owned(),
        }
    }
}

/// A fault with its place.
pub(crate) type Fault = (Position, SyntaxError);

/// Takes one token after another.
pub(crate) struct Lexer<'t> {
    cursor: Cursor<'t>,
}

impl<'t> Lexer<'t> {
    pub(crate) fn new(text: &'t str) -> Self {
        Self { cursor: Cursor::new(text) }
    }

    /// The next token and where it begins; `End` again and again at the end.
    pub(crate) fn next(&mut self) -> Result<(Position, Token), Fault> {
        self.skip_blanks_and_comments()?;
        let position = self.cursor.position();
        let at_start = |problem| (position, problem);
        let Some(first) = self.cursor.peek() else { return Ok((position, Token::End)) };
        let token = match first {
            '=' => self.single(Token::Assign),
            ',' => self.single(Token::Comma),
            '{' => self.single(Token::OpenBlock),
            '}' => self.single(Token::CloseBlock),
            '[' => self.single(Token::OpenList),
            ']' => self.single(Token::CloseList),
            '"' => Token::Text { value: literal::quoted(&mut self.cursor)?, heredoc: false },
            '<' => Token::Text { value: literal::heredoc(&mut self.cursor).map_err(at_start)?, heredoc: true },
            _ if is_letter(first) => self.word(),
            _ if self.number_begins(first) => self.number().map_err(at_start)?,
            _ => return Err(at_start(SyntaxError::Character { found: first })),
        };
        Ok((position, token))
    }

    fn single(&mut self, token: Token) -> Token {
        self.cursor.bump();
        token
    }

    fn word(&mut self) -> Token {
        match self.cursor.take_while(|c| is_letter(c) || c.is_numeric() || c == '-' || c == '.') {
            "true" => Token::Bool(true),
            "false" => Token::Bool(false),
            name => Token::Identifier(name.to_owned()),
        }
    }

    fn number_begins(&self, first: char) -> bool {
        let digit_follows = || self.cursor.peek_second().is_some_and(|c| c.is_ascii_digit());
        first.is_ascii_digit() || (matches!(first, '-' | '.') && digit_follows())
    }

    fn number(&mut self) -> Result<Token, SyntaxError> {
        let start = self.cursor.offset();
        self.cursor.eat('-');
        if self.cursor.peek() == Some('0') && matches!(self.cursor.peek_second(), Some('x' | 'X')) {
            self.cursor.bump();
            self.cursor.bump();
            let digits = self.cursor.take_while(|c| c.is_ascii_hexdigit());
            let text = self.cursor.since(start).to_owned();
            return if digits.is_empty() { Err(SyntaxError::Number) } else { Ok(Token::Number(text)) };
        }
        let whole = self.cursor.take_while(|c| c.is_ascii_digit());
        let mut float = false;
        if self.cursor.eat('.') {
            float = true;
            let fraction = self.cursor.take_while(|c| c.is_ascii_digit());
            if fraction.is_empty() {
                return Err(SyntaxError::Number);
            }
        }
        let mut exponent = false;
        if matches!(self.cursor.peek(), Some('e' | 'E')) {
            exponent = true;
            self.cursor.bump();
            if matches!(self.cursor.peek(), Some('+' | '-')) {
                self.cursor.bump();
            }
            if self.cursor.take_while(|c| c.is_ascii_digit()).is_empty() {
                return Err(SyntaxError::Number);
            }
        }
        let text = self.cursor.since(start).to_owned();
        let octal = whole.len() > 1 && whole.starts_with('0') && !float && !exponent;
        if octal && whole.contains(['8', '9']) {
            return Err(SyntaxError::Number);
        }
        Ok(if float { Token::Float(text) } else { Token::Number(text) })
    }

    fn skip_blanks_and_comments(&mut self) -> Result<(), Fault> {
        loop {
            self.cursor.take_while(|c| matches!(c, ' ' | '\t' | '\r' | '\n'));
            let position = self.cursor.position();
            let rest = self.cursor.rest();
            if rest.starts_with('#') || rest.starts_with("//") {
                self.cursor.take_while(|c| c != '\n');
            } else if rest.starts_with("/*") {
                self.cursor.bump();
                self.cursor.bump();
                self.skip_to_comment_end().ok_or((position, SyntaxError::UnterminatedComment))?;
            } else {
                return Ok(());
            }
        }
    }

    fn skip_to_comment_end(&mut self) -> Option<()> {
        loop {
            if self.cursor.bump()? == '*' && self.cursor.eat('/') {
                return Some(());
            }
        }
    }
}

fn is_letter(c: char) -> bool {
    c == '_' || c.is_ascii_alphabetic() || (!c.is_ascii() && c.is_alphabetic())
}
