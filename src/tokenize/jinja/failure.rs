//! Why a template cannot be read or rendered.

/// What stopped a template.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Cause {
    /// Jinja2 or Python would stop here, too; or what is asked for is not supported, and the reason says so.
    Failed,
    /// The template said so itself.
    Raised,
    /// A value of another type than is needed.
    Type,
    /// It spent all that one rendering may spend.
    OutOfFuel,
}

/// A stop, with its place.
#[derive(Debug, Clone)]
pub(in crate::tokenize) struct Failure {
    /// 1-based line; 0 until somebody knows.
    line: usize,
    reason: String,
    cause: Cause,
}

/// What most of this module returns. Boxed, since it is rare and every value passes through it.
pub(super) type Outcome<T> = Result<T, Box<Failure>>;

/// A failure whose line the caller knows.
pub(super) fn failed<T>(reason: impl Into<String>) -> Outcome<T> {
    Err(Failure::of(Cause::Failed, reason))
}

impl Failure {
    pub(super) fn of(cause: Cause, reason: impl Into<String>) -> Box<Self> {
        Box::new(Self { line: 0, reason: reason.into(), cause })
    }

    /// The line, unless one is known already: the innermost place wins.
    pub(super) fn at(mut self: Box<Self>, line: usize) -> Box<Self> {
        if self.line == 0 {
            self.line = line;
        }
        self
    }

    /// Whether Python would call it a `TypeError`.
    pub(super) fn is_of_type(&self) -> bool {
        self.cause == Cause::Type
    }

    /// 1-based line of the template.
    pub(in crate::tokenize) fn line(&self) -> usize {
        self.line.max(1)
    }

    /// What happened there.
    pub(in crate::tokenize) fn reason(&self) -> &str {
        &self.reason
    }

    /// Whether the template asks for more work than it may.
    pub(in crate::tokenize) fn is_endless(&self) -> bool {
        self.cause == Cause::OutOfFuel
    }
}
