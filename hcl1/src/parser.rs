//! From tokens to the tree.

use std::borrow::Cow;

use crate::lexer::{Fault, Lexer, Token};
use crate::{ConfigError, Item, MAX_FILE_BYTES, MAX_NESTING, Node, Object, Position, SyntaxError, Value, json};

/// Reads a text into its tree; the root is a block without braces. A text that begins with `{` is JSON.
pub fn parse(text: &str, file_name: &str) -> Result<Node, ConfigError> {
    if text.len() > MAX_FILE_BYTES {
        return Err(ConfigError::TooLarge { file: file_name.to_owned(), limit: MAX_FILE_BYTES });
    }
    let is_json = text.trim_start_matches('\u{feff}').trim_start().starts_with('{');
    let root = if is_json {
        json::parse(text)
    } else {
        // HCL1 does this first too, so that heredocs have no carriage returns. No position changes: each stood at its line's end.
        let text = if text.contains("\r\n") { Cow::Owned(text.replace("\r\n", "\n")) } else { Cow::Borrowed(text) };
        Parser::new(&text).and_then(|mut parser| parser.file())
    };
    root.map_err(|(position, problem)| ConfigError::Syntax { file: file_name.to_owned(), position, problem })
}

struct Parser<'t> {
    lexer: Lexer<'t>,
    position: Position,
    token: Token,
    depth: usize,
}

impl<'t> Parser<'t> {
    fn new(text: &'t str) -> Result<Self, Fault> {
        let mut lexer = Lexer::new(text);
        let (position, token) = lexer.next()?;
        Ok(Self { lexer, position, token, depth: 0 })
    }

    fn file(&mut self) -> Result<Node, Fault> {
        let position = Position { line: 1, column: 1 };
        let object = self.items(&Token::End)?;
        Ok(Node { position, value: Value::Object(object) })
    }

    /// Items up to `end`; a comma may follow each.
    fn items(&mut self, end: &Token) -> Result<Object, Fault> {
        let mut object = Object::default();
        while self.token != *end {
            object.items.push(self.item()?);
            if self.token == Token::Comma {
                self.advance()?;
            }
        }
        self.advance()?;
        Ok(object)
    }

    /// `key = value`, `key { … }` or `key "label" … { … }`.
    fn item(&mut self) -> Result<Item, Fault> {
        let (position, key) = self.key()?.ok_or_else(|| self.expected("a key"))?;
        let mut labels = Vec::new();
        while let Some(label) = self.key()? {
            // Each label is a level, and the tree is walked by recursion.
            if self.depth + labels.len() >= MAX_NESTING {
                return Err((label.0, SyntaxError::TooDeep { limit: MAX_NESTING }));
            }
            labels.push(label);
        }
        let mut node = match self.token {
            Token::Assign if labels.is_empty() => {
                self.advance()?;
                self.value()?
            }
            Token::Assign => return Err((self.position, SyntaxError::LabelledAssignment)),
            Token::OpenBlock => {
                self.depth += labels.len();
                let node = self.value()?;
                self.depth -= labels.len();
                node
            }
            _ => return Err(self.expected("'=' or '{'")),
        };
        for (position, key) in labels.into_iter().rev() {
            let value = Value::Object(Object { items: vec![Item { key, position, node }] });
            node = Node { position, value };
        }
        Ok(Item { key, position, node })
    }

    fn key(&mut self) -> Result<Option<(Position, String)>, Fault> {
        match &self.token {
            Token::Identifier(text) | Token::Text { value: text, heredoc: false } => {
                let key = (self.position, text.clone());
                self.advance()?;
                Ok(Some(key))
            }
            _ => Ok(None),
        }
    }

    fn value(&mut self) -> Result<Node, Fault> {
        let position = self.position;
        let value = match &self.token {
            Token::Text { value, .. } => Value::String(value.clone()),
            Token::Number(text) => Value::Number(text.clone()),
            Token::Float(text) => Value::Float(text.clone()),
            Token::Bool(value) => Value::Bool(*value),
            Token::OpenBlock => {
                self.descend()?;
                let object = self.items(&Token::CloseBlock)?;
                self.depth -= 1;
                return Ok(Node { position, value: Value::Object(object) });
            }
            Token::OpenList => {
                self.descend()?;
                let list = self.list()?;
                self.depth -= 1;
                return Ok(Node { position, value: Value::List(list) });
            }
            _ => return Err(self.expected("a value")),
        };
        self.advance()?;
        Ok(Node { position, value })
    }

    /// The values of a list. Commas may repeat, and none is needed behind a list within the list.
    fn list(&mut self) -> Result<Vec<Node>, Fault> {
        let mut values = Vec::new();
        let mut comma_needed = false;
        loop {
            match self.token {
                Token::CloseList => {
                    self.advance()?;
                    return Ok(values);
                }
                Token::Comma => {
                    comma_needed = false;
                    self.advance()?;
                }
                _ if comma_needed => return Err(self.expected("',' or ']'")),
                _ => {
                    comma_needed = self.token != Token::OpenList;
                    values.push(self.value()?);
                }
            }
        }
    }

    /// One level deeper, past the opening bracket.
    fn descend(&mut self) -> Result<(), Fault> {
        if self.depth >= MAX_NESTING {
            return Err((self.position, SyntaxError::TooDeep { limit: MAX_NESTING }));
        }
        self.depth += 1;
        self.advance()
    }

    fn advance(&mut self) -> Result<(), Fault> {
        (self.position, self.token) = self.lexer.next()?;
        Ok(())
    }

    fn expected(&self, expected: &'static str) -> Fault {
        (self.position, SyntaxError::Expected { expected, found: self.token.describe() })
    }
}
