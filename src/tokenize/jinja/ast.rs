//! A template as its parser leaves it. Names are numbers of `Template::names`.

use std::sync::Arc;

use num_bigint::BigInt;

/// A name, as an index into the names of its template.
pub(super) type Name = u32;

/// Names with a meaning of their own; every template has them first.
pub(super) const LOOP: Name = 0;
pub(super) const CALLER: Name = 1;
pub(super) const KWARGS: Name = 2;
pub(super) const VARARGS: Name = 3;
pub(super) const SPECIAL_NAMES: [&str; 4] = ["loop", "caller", "kwargs", "varargs"];

/// An expression, with the line it starts on.
#[derive(Debug)]
pub(super) struct Expr {
    pub(super) line: usize,
    pub(super) kind: ExprKind,
}

#[derive(Debug)]
pub(super) enum ExprKind {
    Const(Const),
    Name(Name),
    List(Vec<Expr>),
    Tuple(Vec<Expr>),
    Dict(Vec<(Expr, Expr)>),
    /// `x.name`: an attribute before an item.
    Attribute(Box<Expr>, Arc<str>),
    /// `x[y]`: an item before an attribute.
    Item(Box<Expr>, Box<Expr>),
    Slice([Option<Box<Expr>>; 3]),
    Call(Box<Expr>, Arguments),
    Filter(Box<Expr>, Filter),
    Test(Box<Expr>, Test),
    Not(Box<Expr>),
    Negative(Box<Expr>),
    Positive(Box<Expr>),
    And(Box<Expr>, Box<Expr>),
    Or(Box<Expr>, Box<Expr>),
    Binary(Operator, Box<Expr>, Box<Expr>),
    /// `a ~ b ~ c`.
    Concat(Vec<Expr>),
    /// `a < b <= c`, each operand evaluated once.
    Compare(Box<Expr>, Vec<(Comparison, Expr)>),
    /// `then if test else otherwise`.
    Conditional {
        test: Box<Expr>,
        then: Box<Expr>,
        otherwise: Option<Box<Expr>>,
    },
}

#[derive(Debug)]
pub(super) enum Const {
    None,
    Bool(bool),
    Int(i64),
    Big(BigInt),
    Float(f64),
    Str(Arc<str>),
}

/// `name(arguments)` without the value it is applied to.
#[derive(Debug)]
pub(super) struct Filter {
    pub(super) line: usize,
    pub(super) name: Arc<str>,
    pub(super) arguments: Arguments,
}

#[derive(Debug)]
pub(super) struct Test {
    pub(super) name: Arc<str>,
    pub(super) arguments: Arguments,
}

#[derive(Debug, Default)]
pub(super) struct Arguments {
    pub(super) positional: Vec<Expr>,
    pub(super) named: Vec<(Arc<str>, Expr)>,
    pub(super) more: Option<Box<Expr>>,
    pub(super) more_named: Option<Box<Expr>>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Operator {
    Add,
    Sub,
    Mul,
    Div,
    FloorDiv,
    Mod,
    Pow,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Comparison {
    Eq,
    Ne,
    Lt,
    Le,
    Gt,
    Ge,
    In,
    NotIn,
}

/// What is assigned to.
#[derive(Debug)]
pub(super) enum Target {
    Name(Name),
    Tuple(Vec<Target>),
    /// `ns.name`.
    Namespace(Name, Arc<str>),
}

/// Statements with their own names. `hidden` are those that start undefined here, whatever the context says: Jinja2
/// decides when it compiles that a name which is assigned before it is read belongs to the scope.
#[derive(Debug, Default)]
pub(super) struct Scope {
    pub(super) body: Vec<Stmt>,
    pub(super) hidden: Vec<Name>,
}

#[derive(Debug)]
pub(super) struct Stmt {
    pub(super) line: usize,
    pub(super) kind: StmtKind,
}

#[derive(Debug)]
pub(super) enum StmtKind {
    Data(Arc<str>),
    Print(Expr),
    For(Arc<For>),
    /// Branches in order, then what is left.
    If(Vec<(Expr, Vec<Stmt>)>, Vec<Stmt>),
    Set(Target, Expr),
    SetBlock {
        target: Target,
        filters: Vec<Filter>,
        scope: Scope,
    },
    With {
        values: Vec<(Target, Expr)>,
        scope: Scope,
    },
    Macro(Arc<Macro>),
    Call {
        call: Expr,
        body: Arc<Macro>,
    },
    FilterBlock {
        filters: Vec<Filter>,
        scope: Scope,
    },
    Autoescape(Expr, Scope),
    /// `{% generation %}`, whose text is that of its body.
    Generation(Scope),
    /// `{% block %}`, which sees of the template what is set outside of loops and macros, unless it is `scoped`.
    Block {
        scoped: bool,
        scope: Scope,
    },
    Break,
    Continue,
    /// A statement that needs another template: there is none.
    NoLoader(&'static str),
}

#[derive(Debug)]
pub(super) struct For {
    pub(super) target: Target,
    pub(super) iter: Expr,
    pub(super) test: Option<Expr>,
    pub(super) recursive: bool,
    /// Whether the body reads `loop`.
    pub(super) reads_loop: bool,
    pub(super) body: Scope,
    pub(super) otherwise: Scope,
}

#[derive(Debug, Default)]
pub(super) struct Macro {
    /// What it is stored under; a call block has no name.
    pub(super) number: Option<Name>,
    pub(super) name: Option<Arc<str>>,
    pub(super) parameters: Vec<(Name, Arc<str>)>,
    /// Of the last parameters.
    pub(super) defaults: Vec<Expr>,
    pub(super) scope: Scope,
    pub(super) reads_caller: bool,
    pub(super) reads_kwargs: bool,
    pub(super) reads_varargs: bool,
}
