//! Comma-separated values (RFC 4180) with a header: the form in which inventories export lists.
//!
//! Lines end in LF or CRLF, empty ones are skipped; a field in double quotes may hold commas, line ends and doubled quotes. Every row
//! has as many fields as the header. Columns are counted in characters, from 1.

/// A place in a file, and what is wrong there.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Fault {
    pub(super) line: usize,
    pub(super) column: usize,
    pub(super) problem: String,
}

impl Fault {
    pub(super) fn new(line: usize, column: usize, problem: impl Into<String>) -> Self {
        Self { line, column, problem: problem.into() }
    }
}

/// A field with the place where it begins.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Field {
    pub(super) line: usize,
    pub(super) column: usize,
    pub(super) text: String,
}

impl Field {
    pub(super) fn refuse(&self, problem: impl Into<String>) -> Fault {
        Fault::new(self.line, self.column, problem)
    }
}

/// Header and rows, as long as the header each.
pub(super) fn read(text: &str) -> Result<(Vec<Field>, Vec<Vec<Field>>), Fault> {
    let mut reader = Reader { rest: text, line: 1, column: 1 };
    let header =
        reader.row()?.ok_or_else(|| Fault::new(1, 1, "the file is empty; it begins with a line of column names"))?;
    let mut rows = Vec::new();
    while let Some(row) = reader.row()? {
        if row.len() != header.len() {
            let at = row.first().map_or((reader.line, 1), |field| (field.line, field.column));
            let problem = format!("{} fields, and the header has {}", row.len(), header.len());
            return Err(Fault::new(at.0, at.1, problem));
        }
        rows.push(row);
    }
    Ok((header, rows))
}

const CARRIAGE_RETURN: &str = "a carriage return without a line feed; save the file with lines that end in LF or CRLF";

struct Reader<'a> {
    rest: &'a str,
    line: usize,
    column: usize,
}

impl Reader<'_> {
    fn peek(&self) -> Option<char> {
        self.rest.chars().next()
    }

    fn next(&mut self) -> Option<char> {
        let mut characters = self.rest.chars();
        let next = characters.next()?;
        self.rest = characters.as_str();
        if next == '\n' {
            (self.line, self.column) = (self.line + 1, 1);
        } else {
            self.column += 1;
        }
        Some(next)
    }

    /// Goes past one line end, or says that there is none here.
    fn line_end(&mut self) -> bool {
        let is_end = self.rest.starts_with('\n') || self.rest.starts_with("\r\n");
        while is_end && self.next() == Some('\r') {}
        is_end
    }

    /// The next row that is not empty.
    fn row(&mut self) -> Result<Option<Vec<Field>>, Fault> {
        while self.line_end() {}
        if self.peek().is_none() {
            return Ok(None);
        }
        let mut row = vec![self.field()?];
        loop {
            match self.peek() {
                Some(',') => {
                    self.next();
                    row.push(self.field()?);
                }
                None => return Ok(Some(row)),
                Some(_) if self.line_end() => return Ok(Some(row)),
                Some('\r') => return Err(Fault::new(self.line, self.column, CARRIAGE_RETURN)),
                Some(_) => return Err(Fault::new(self.line, self.column, "text behind a closing quote")),
            }
        }
    }

    fn field(&mut self) -> Result<Field, Fault> {
        let mut field = Field { line: self.line, column: self.column, text: String::new() };
        if self.peek() != Some('"') {
            while let Some(next) = self.peek() {
                match next {
                    ',' | '\n' | '\r' => break,
                    '"' => return Err(Fault::new(self.line, self.column, "a quote within a field that is not quoted")),
                    _ => field.text.extend(self.next()),
                }
            }
            return Ok(field);
        }
        self.next();
        loop {
            match self.next() {
                Some('"') if self.peek() == Some('"') => field.text.extend(self.next()),
                Some('"') => return Ok(field),
                Some(other) => field.text.push(other),
                None => return Err(field.refuse("a quote that is not closed")),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn texts(text: &str) -> Vec<Vec<String>> {
        let (header, rows) = read(text).unwrap();
        std::iter::once(header).chain(rows).map(|row| row.into_iter().map(|field| field.text).collect()).collect()
    }

    #[test]
    fn rows_are_read_as_inventories_write_them() {
        let text = "a,b\r\n\r\n1,\"x, \"\"y\"\"\nz\"\r\n,2\n\n";
        assert_eq!(texts(text), [["a", "b"], ["1", "x, \"y\"\nz"], ["", "2"]]);
        let (_, rows) = read(text).unwrap();
        let place = |row: usize, field: usize| (rows[row][field].line, rows[row][field].column);
        assert_eq!([place(0, 0), place(0, 1), place(1, 1)], [(3, 1), (3, 3), (5, 2)]);
        assert_eq!(texts("a"), [["a"]]);
    }

    #[test]
    fn what_is_no_row_is_named_with_its_place() {
        for (text, line, column, problem) in [
            ("", 1, 1, "empty"),
            ("a,b\n1,2,3\n", 2, 1, "3 fields, and the header has 2"),
            ("a,b\n\n1\n", 3, 1, "1 fields"),
            ("a,b\n1,\"2\n3", 2, 3, "not closed"),
            ("a,b\n1,\"2\"x\n", 2, 6, "behind a closing quote"),
            ("a,b\n1,2\"x\n", 2, 4, "not quoted"),
            ("a,b\n1,2\rx\n", 2, 4, "LF or CRLF"),
            ("a,b\r1,2\r", 1, 4, "LF or CRLF"),
        ] {
            let fault = read(text).unwrap_err();
            assert_eq!((fault.line, fault.column), (line, column), "{text:?}: {fault:?}");
            assert!(fault.problem.contains(problem), "{text:?}: {fault:?}");
        }
    }
}
