//! Batches: what is wrong with one item is said in its place, and the service sees the others.

use crate::status::Failure;

/// Items for the service, and in their places what became of the others.
pub(crate) struct Split<T> {
    pub(crate) good: Vec<T>,
    pub(crate) refused: Vec<Option<Failure>>,
}

impl<T> Split<T> {
    pub(crate) fn of(items: impl Iterator<Item = Result<T, Failure>>) -> Self {
        let mut split = Self { good: Vec::new(), refused: Vec::new() };
        for item in items {
            match item {
                Ok(item) => {
                    split.good.push(item);
                    split.refused.push(None);
                }
                Err(failure) => split.refused.push(Some(failure)),
            }
        }
        split
    }
}

/// Puts the service's results into the places that were left open.
pub(crate) fn merge<R>(
    refused: Vec<Option<Failure>>,
    results: Vec<Result<R, Failure>>,
) -> impl Iterator<Item = Result<R, Failure>> {
    let mut results = results.into_iter();
    refused.into_iter().filter_map(move |refused| match refused {
        Some(failure) => Some(Err(failure)),
        None => results.next(),
    })
}
