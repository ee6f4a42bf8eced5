//! Which of n things belong together, as pairs of them come in.

/// Disjoint sets with union by size: a root is at most log₂ n steps away. Tarjan 1975.
pub(super) struct UnionFind {
    parent: Vec<usize>,
    size: Vec<usize>,
}

impl UnionFind {
    /// Each of `n` things by itself.
    pub(super) fn new(n: usize) -> Self {
        Self { parent: (0..n).collect(), size: vec![1; n] }
    }

    /// The one that stands for the set of `thing`. Changes nothing, so threads can ask at the same time.
    pub(super) fn root(&self, mut thing: usize) -> usize {
        while self.parent[thing] != thing {
            thing = self.parent[thing];
        }
        thing
    }

    /// Whether both are in one set.
    pub(super) fn is_joined(&self, a: usize, b: usize) -> bool {
        self.root(a) == self.root(b)
    }

    /// Makes one set of the sets of both.
    pub(super) fn join(&mut self, a: usize, b: usize) {
        let (a, b) = (self.root(a), self.root(b));
        if a == b {
            return;
        }
        let (small, large) = if self.size[a] < self.size[b] { (a, b) } else { (b, a) };
        self.parent[small] = large;
        self.size[large] += self.size[small];
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_joined_through_others_is_joined() {
        let mut sets = UnionFind::new(6);
        for (a, b) in [(0, 1), (2, 3), (1, 3), (3, 0)] {
            sets.join(a, b);
        }
        assert!(sets.is_joined(0, 2));
        assert!(!sets.is_joined(0, 4));
        assert!(!sets.is_joined(4, 5));
        assert!(sets.is_joined(5, 5));
    }

    #[test]
    fn a_chain_stays_shallow() {
        let mut sets = UnionFind::new(1024);
        for i in 1..1024 {
            sets.join(i - 1, i);
        }
        let depth = |mut thing: usize| {
            let mut n = 0;
            while sets.parent[thing] != thing {
                (thing, n) = (sets.parent[thing], n + 1);
            }
            n
        };
        assert!((0..1024).all(|i| depth(i) <= 10));
        assert!((0..1024).all(|i| sets.is_joined(0, i)));
    }
}
