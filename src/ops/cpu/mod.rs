//! The fast paths of the CPU, in `f32`.
//!
//! Invariant: a row of a result depends on its own inputs and on widths of the model, never on how many rows there
//! are, where it stands among them, or how many threads run. Each sum has one order, fixed by the source:
//! products are chains over `k` cut at [`gemm::k_block`], sums over a row run in [`math::LANES`] lanes. What a compiler
//! makes of it for one instruction set or another has the same bits; only whether multiply and add are rounded
//! together differs, and the name of the log-prob kernel says so.
//!
//! The stock twins of these kernels, made of candle's operations, are the path of other devices and the oracle of the
//! tests.

#![expect(clippy::inline_always, reason = "a loop gets the vector instructions of the function it is inlined into")]

pub(in crate::ops) mod attention;
pub(in crate::ops) mod gemm;
pub(in crate::ops) mod head;
pub(in crate::ops) mod math;
pub(in crate::ops) mod pairs;
pub(in crate::ops) mod rows;
pub(in crate::ops) mod tensors;
pub(in crate::ops) mod tile;
pub(in crate::ops) mod widened;

/// Which instructions a kernel may use.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::ops) enum Isa {
    /// AVX-512 F, BW, DQ and VL.
    #[cfg(target_arch = "x86_64")]
    Avx512,
    /// AVX2 and FMA.
    #[cfg(target_arch = "x86_64")]
    Avx2,
    /// What every CPU of the target has.
    Portable,
}

impl Isa {
    /// The best of this machine.
    pub(in crate::ops) fn best() -> Self {
        #[cfg(target_arch = "x86_64")]
        {
            let has_avx2 = is_x86_feature_detected!("avx2") && is_x86_feature_detected!("fma");
            let has_avx512 = is_x86_feature_detected!("avx512f")
                && is_x86_feature_detected!("avx512bw")
                && is_x86_feature_detected!("avx512dq")
                && is_x86_feature_detected!("avx512vl");
            if has_avx2 && has_avx512 {
                return Self::Avx512;
            }
            if has_avx2 {
                return Self::Avx2;
            }
        }
        Self::Portable
    }

    /// Whether it rounds a product and its sum once.
    pub(in crate::ops) fn is_fused(self) -> bool {
        self != Self::Portable || tile::PORTABLE_IS_FUSED
    }
}

/// Compiles a function for each instruction set and calls the one of `$isa`.
///
/// The function is `#[inline(always)]`, so that its loops are vectorised with the instructions of the caller.
macro_rules! dispatch {
    ($isa:expr, $f:ident($($arg:ident: $ty:ty),* $(,)?) $(-> $ret:ty)?) => {{
        #[cfg(target_arch = "x86_64")]
        #[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx2,fma")]
        fn avx512($($arg: $ty),*) $(-> $ret)? {
            $f($($arg),*)
        }
        #[cfg(target_arch = "x86_64")]
        #[target_feature(enable = "avx2,fma")]
        fn avx2($($arg: $ty),*) $(-> $ret)? {
            $f($($arg),*)
        }
        match $isa {
            #[cfg(target_arch = "x86_64")]
            #[expect(unsafe_code, reason = "instructions that not every CPU has")]
            // SAFETY: `Isa::Avx512` is made only where the CPU has these features.
            crate::ops::cpu::Isa::Avx512 => unsafe { avx512($($arg),*) },
            #[cfg(target_arch = "x86_64")]
            #[expect(unsafe_code, reason = "instructions that not every CPU has")]
            // SAFETY: `Isa::Avx2` is made only where the CPU has these features.
            crate::ops::cpu::Isa::Avx2 => unsafe { avx2($($arg),*) },
            crate::ops::cpu::Isa::Portable => $f($($arg),*),
        }
    }};
}
pub(in crate::ops) use dispatch;
