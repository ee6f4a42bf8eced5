//! Strongly connected components of a directed graph: what is on a cycle together.

/// A directed graph on nodes 0..n.
pub struct Graph {
    /// Where the edges of a node start in `to`; one more at the end.
    first: Vec<usize>,
    to: Vec<usize>,
}

impl Graph {
    /// The graph of these edges, each from and to a node below `n`, in ascending order.
    pub fn new(n: usize, edges: &[(usize, usize)]) -> Self {
        let first = (0..=n).map(|node| edges.partition_point(|&(from, _)| from < node)).collect();
        Self { first, to: edges.iter().map(|&(_, to)| to).collect() }
    }

    /// Nodes.
    pub fn n_nodes(&self) -> usize {
        self.first.len() - 1
    }

    /// The nodes an edge of `node` leads to.
    pub fn next(&self, node: usize) -> &[usize] {
        &self.to[self.first[node]..self.first[node + 1]]
    }

    /// The component of each node: equal numbers for nodes that reach each other.
    ///
    /// Tarjan 1972, Depth-first search and linear graph algorithms, with a stack of its own: a chain of a million nodes
    /// does not overflow the thread's. Linear in nodes and edges.
    pub fn components(&self) -> Vec<usize> {
        let mut visit = Visit {
            order: vec![None; self.n_nodes()],
            low: vec![0; self.n_nodes()],
            component: vec![None; self.n_nodes()],
            open: Vec::new(),
            n_seen: 0,
            n_components: 0,
        };
        for node in 0..self.n_nodes() {
            if visit.order[node].is_none() {
                self.visit_from(node, &mut visit);
            }
        }
        // Every node has one after its visit.
        visit.component.into_iter().map(Option::unwrap_or_default).collect()
    }

    fn visit_from(&self, start: usize, visit: &mut Visit) {
        // A node and how many of its edges are done.
        let mut path = vec![(visit.enter(start), 0)];
        while let Some((node, n_done)) = path.last_mut() {
            let node = *node;
            if let Some(&to) = self.next(node).get(*n_done) {
                *n_done += 1;
                match visit.order[to] {
                    None => path.push((visit.enter(to), 0)),
                    Some(order) if visit.component[to].is_none() => visit.low[node] = visit.low[node].min(order),
                    Some(_) => {}
                }
            } else {
                path.pop();
                visit.leave(node);
                if let Some(&(parent, _)) = path.last() {
                    visit.low[parent] = visit.low[parent].min(visit.low[node]);
                }
            }
        }
    }

    /// A shortest way back to `start` through nodes that `allowed` holds of: its nodes from `start` on; `None` if there is
    /// none.
    pub fn cycle(&self, start: usize, allowed: impl Fn(usize) -> bool) -> Option<Vec<usize>> {
        let mut came_from: Vec<Option<usize>> = vec![None; self.n_nodes()];
        let mut queue = std::collections::VecDeque::from([start]);
        while let Some(node) = queue.pop_front() {
            for &to in self.next(node) {
                if to == start {
                    return Some(way(&came_from, start, node));
                }
                if allowed(to) && came_from[to].is_none() {
                    came_from[to] = Some(node);
                    queue.push_back(to);
                }
            }
        }
        None
    }
}

/// The nodes from `start` to `end`.
fn way(came_from: &[Option<usize>], start: usize, end: usize) -> Vec<usize> {
    let mut way: Vec<usize> =
        std::iter::successors(Some(end), |&node| if node == start { None } else { came_from[node] }).collect();
    way.reverse();
    way
}

struct Visit {
    order: Vec<Option<usize>>,
    low: Vec<usize>,
    component: Vec<Option<usize>>,
    open: Vec<usize>,
    n_seen: usize,
    n_components: usize,
}

impl Visit {
    fn enter(&mut self, node: usize) -> usize {
        self.order[node] = Some(self.n_seen);
        self.low[node] = self.n_seen;
        self.n_seen += 1;
        self.open.push(node);
        node
    }

    /// Closes the component of which `node` was the first to be seen.
    fn leave(&mut self, node: usize) {
        if self.order[node] != Some(self.low[node]) {
            return;
        }
        while let Some(member) = self.open.pop() {
            self.component[member] = Some(self.n_components);
            if member == node {
                break;
            }
        }
        self.n_components += 1;
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn graph(n: usize, edges: &[(usize, usize)]) -> Graph {
        let mut edges = edges.to_vec();
        edges.sort_unstable();
        edges.dedup();
        Graph::new(n, &edges)
    }

    /// Whether each reaches each, by the closure of Warshall.
    fn reaches(n: usize, edges: &[(usize, usize)]) -> Vec<Vec<bool>> {
        let mut reaches = vec![vec![false; n]; n];
        for &(a, b) in edges {
            reaches[a][b] = true;
        }
        for via in 0..n {
            for a in 0..n {
                for b in 0..n {
                    reaches[a][b] |= reaches[a][via] && reaches[via][b];
                }
            }
        }
        reaches
    }

    #[test]
    fn a_triangle_with_a_tail_is_one_component_and_one_more() {
        let found = graph(4, &[(0, 1), (1, 2), (2, 0), (2, 3)]).components();
        assert!(found[0] == found[1] && found[1] == found[2] && found[2] != found[3], "{found:?}");
    }

    #[test]
    fn a_long_chain_does_not_overflow_the_stack() {
        let n = 300_000;
        let mut edges: Vec<(usize, usize)> = (1..n).map(|i| (i - 1, i)).collect();
        let mut found = Graph::new(n, &edges).components();
        found.sort_unstable();
        found.dedup();
        assert_eq!(found.len(), n);
        edges.push((n - 1, 0));
        assert!(Graph::new(n, &edges).components().iter().all(|&component| component == 0));
    }

    #[test]
    fn the_way_back_is_a_shortest_one() {
        let graph = graph(5, &[(0, 1), (1, 2), (2, 3), (3, 0), (1, 4), (4, 0)]);
        assert_eq!(graph.cycle(0, |_| true), Some(vec![0, 1, 4]));
        assert_eq!(graph.cycle(0, |node| node != 4), Some(vec![0, 1, 2, 3]));
        assert_eq!(graph.cycle(0, |node| node != 1), None);
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(128))]

        #[test]
        fn components_are_what_reaches_each_other(edges in prop::collection::vec((0..9_usize, 0..9_usize), 0..30)) {
            let (found, reaches) = (graph(9, &edges).components(), reaches(9, &edges));
            for a in 0..9 {
                for b in 0..9 {
                    let together = a == b || (reaches[a][b] && reaches[b][a]);
                    prop_assert_eq!(found[a] == found[b], together, "{} and {}", a, b);
                }
            }
        }
    }
}
