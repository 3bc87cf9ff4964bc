//! The JSON form of HCL1: RFC 8259, read into the same tree. A list of blocks is a block that repeats, since JSON has no other way to say so.

use crate::cursor::Cursor;
use crate::lexer::Fault;
use crate::{Item, MAX_NESTING, Node, Object, Position, SyntaxError, Value};

/// Reads a whole JSON text, which must be an object.
pub(crate) fn parse(text: &str) -> Result<Node, Fault> {
    let mut reader = Reader { cursor: Cursor::new(text), depth: 0 };
    reader.skip_blanks();
    let position = reader.cursor.position();
    let object = reader.object()?;
    reader.skip_blanks();
    match reader.cursor.peek() {
        None => Ok(Node { position, value: Value::Object(object) }),
        Some(_) => Err(reader.expected("the end of the file")),
    }
}

fn only_blocks(nodes: &[Node]) -> bool {
    !nodes.is_empty() && nodes.iter().all(|node| matches!(node.value, Value::Object(_)))
}

struct Reader<'t> {
    cursor: Cursor<'t>,
    depth: usize,
}

impl Reader<'_> {
    fn value(&mut self) -> Result<Node, Fault> {
        let position = self.cursor.position();
        let value = match self.cursor.peek() {
            Some('{') => Value::Object(self.object()?),
            Some('[') => Value::List(self.list()?),
            Some('"') => Value::String(self.string()?),
            Some('-' | '0'..='9') => self.number(position)?,
            _ => match self.cursor.take_while(|c| c.is_ascii_alphabetic()) {
                "true" => Value::Bool(true),
                "false" => Value::Bool(false),
                "null" => Value::Null,
                "" => return Err(self.expected("a value")),
                _ => {
                    let found = "a word without quotes".to_owned();
                    return Err((position, SyntaxError::Expected { expected: "a value", found }));
                }
            },
        };
        Ok(Node { position, value })
    }

    fn object(&mut self) -> Result<Object, Fault> {
        self.descend()?;
        let mut object = Object::default();
        self.skip_blanks();
        let mut more = self.cursor.peek() != Some('}');
        while more {
            self.skip_blanks();
            let position = self.cursor.position();
            if self.cursor.peek() != Some('"') {
                return Err(self.expected("a quoted key"));
            }
            let key = self.string()?;
            self.skip_blanks();
            if !self.cursor.eat(':') {
                return Err(self.expected("':'"));
            }
            self.skip_blanks();
            match self.value()? {
                Node { value: Value::List(nodes), .. } if only_blocks(&nodes) => {
                    object.items.extend(nodes.into_iter().map(|node| Item { key: key.clone(), position, node }));
                }
                node => object.items.push(Item { key, position, node }),
            }
            self.skip_blanks();
            more = self.cursor.eat(',');
        }
        self.close('}', "',' or '}'")?;
        Ok(object)
    }

    fn list(&mut self) -> Result<Vec<Node>, Fault> {
        self.descend()?;
        let mut values = Vec::new();
        self.skip_blanks();
        let mut more = self.cursor.peek() != Some(']');
        while more {
            self.skip_blanks();
            let node = self.value()?;
            if node.value == Value::Null {
                return Err((node.position, SyntaxError::Expected { expected: "a value", found: "null".to_owned() }));
            }
            values.push(node);
            self.skip_blanks();
            more = self.cursor.eat(',');
        }
        self.close(']', "',' or ']'")?;
        Ok(values)
    }

    /// A string's escapes are those of JSON, which `serde_json` knows; this finds where it ends.
    fn string(&mut self) -> Result<String, Fault> {
        let position = self.cursor.position();
        let start = self.cursor.offset();
        self.cursor.bump();
        loop {
            match self.cursor.bump() {
                None | Some('\n') => return Err((position, SyntaxError::UnterminatedString)),
                Some('"') => break,
                Some('\\') => {
                    self.cursor.bump();
                }
                Some(_) => {}
            }
        }
        serde_json::from_str(self.cursor.since(start)).map_err(|_| (position, SyntaxError::NotUtf8))
    }

    fn number(&mut self, position: Position) -> Result<Value, Fault> {
        let text = self.cursor.take_while(|c| matches!(c, '0'..='9' | '-' | '+' | '.' | 'e' | 'E'));
        if serde_json::from_str::<serde_json::Number>(text).is_err() {
            return Err((position, SyntaxError::Number));
        }
        let text = text.to_owned();
        Ok(if text.contains('.') { Value::Float(text) } else { Value::Number(text) })
    }

    /// Takes the opening bracket and counts the level.
    fn descend(&mut self) -> Result<(), Fault> {
        if self.depth >= MAX_NESTING {
            return Err((self.cursor.position(), SyntaxError::TooDeep { limit: MAX_NESTING }));
        }
        self.depth += 1;
        self.cursor.bump();
        Ok(())
    }

    fn close(&mut self, bracket: char, expected: &'static str) -> Result<(), Fault> {
        if !self.cursor.eat(bracket) {
            return Err(self.expected(expected));
        }
        self.depth -= 1;
        Ok(())
    }

    fn skip_blanks(&mut self) {
        self.cursor.take_while(|c| matches!(c, ' ' | '\t' | '\r' | '\n'));
    }

    fn expected(&self, expected: &'static str) -> Fault {
        let found = match self.cursor.peek() {
            Some(c) => format!("{c:?}"),
            None => "the end of the file".to_owned(),
        };
        (self.cursor.position(), SyntaxError::Expected { expected, found })
    }
}
