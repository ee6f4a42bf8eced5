//! Documents, one after another, as blocks of one length.

/// Cuts a stream of tokens into blocks of `length` tokens; the last one may be shorter.
///
/// This is TRL's packing strategy `wrapped`: a block may hold the end of one document and the beginning of the next, and
/// sees both.
#[derive(Debug)]
pub(super) struct Blocks {
    length: usize,
    pending: Vec<u32>,
}

impl Blocks {
    pub(super) fn new(length: usize) -> Self {
        Self { length, pending: Vec::new() }
    }

    /// Adds tokens; `take` gets every block that is full now.
    pub(super) fn push<E>(&mut self, ids: &[u32], mut take: impl FnMut(&[u32]) -> Result<(), E>) -> Result<(), E> {
        self.pending.extend_from_slice(ids);
        let n_full = self.pending.len() / self.length * self.length;
        for block in self.pending[..n_full].chunks(self.length) {
            take(block)?;
        }
        self.pending.drain(..n_full);
        Ok(())
    }

    /// The last block, if there is something to learn in it: nothing predicts its first token.
    pub(super) fn finish(self) -> Option<Vec<u32>> {
        Some(self.pending).filter(|block| block.len() > 1)
    }
}

#[cfg(test)]
mod tests {
    use proptest::collection::vec;
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]
        #[test]
        fn every_token_is_in_one_block_in_its_order(
            documents in vec(vec(0..9_u32, 0..40), 0..12), length in 2..17_usize,
        ) {
            let mut blocks = Blocks::new(length);
            let mut found: Vec<Vec<u32>> = Vec::new();
            for document in &documents {
                blocks.push(document, |block| { found.push(block.to_vec()); Ok::<(), ()>(()) }).unwrap();
            }
            prop_assert!(found.iter().all(|block| block.len() == length));
            let all = documents.concat();
            let left = all.len() - found.len() * length;
            let last = blocks.finish();
            prop_assert_eq!(last.is_some(), left > 1);
            found.extend(last);
            let found = found.concat();
            prop_assert_eq!(&found[..], &all[..found.len()]);
            prop_assert!(all.len() - found.len() <= 1);
        }
    }
}
