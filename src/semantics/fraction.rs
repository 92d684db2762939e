//! Exact numbers strictly between 0 and 1, for thresholds that whole numbers are compared with.
//!
//! "At least 70 % of 10 images" has an exact answer, which `0.7 * 10.0` in floating point need not give. A [`Fraction`] keeps
//! the decimal a person wrote as a ratio of integers, so that a count exactly at the threshold is seen to be exactly there.

use std::cmp::Ordering;
use std::fmt;
use std::str::FromStr;

use crate::error::{Error, ErrorKind, Result};

/// A ratio of two integers, strictly between 0 and 1.
///
/// ```
/// use heatlens::semantics::Fraction;
/// use std::cmp::Ordering;
///
/// let tau: Fraction = "0.7".parse()?;
/// assert_eq!(tau.compare(7, 10), Ordering::Equal);
/// assert_eq!(Fraction::HALF.compare(6, 10), Ordering::Greater);
/// # Ok::<(), heatlens::Error>(())
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Fraction {
    numerator: u64,
    denominator: u64,
}

impl Fraction {
    /// One half.
    pub const HALF: Self = Self { numerator: 1, denominator: 2 };

    /// `numerator / denominator` in lowest terms.
    ///
    /// # Errors
    /// [`ErrorKind::Usage`] if the ratio isn't strictly between 0 and 1.
    pub fn new(numerator: u64, denominator: u64) -> Result<Self> {
        if numerator == 0 || numerator >= denominator {
            return Err(outside(&format!("{numerator}/{denominator}")));
        }
        let divisor = gcd(numerator, denominator);
        Ok(Self { numerator: numerator / divisor, denominator: denominator / divisor })
    }

    /// The decimal that prints as `value` does: 0.05 is exactly 5/100, not the binary number next to it.
    ///
    /// # Errors
    /// [`ErrorKind::Usage`] if `value` isn't strictly between 0 and 1 or has more than 18 decimals.
    pub fn from_decimal(value: f64) -> Result<Self> {
        value.to_string().parse()
    }

    /// The nearest floating-point number.
    pub fn value(self) -> f64 {
        self.numerator as f64 / self.denominator as f64
    }

    /// How `count / n` compares with this fraction, without rounding.
    pub fn compare(self, count: u64, n: u64) -> Ordering {
        let left = u128::from(count) * u128::from(self.denominator);
        left.cmp(&(u128::from(self.numerator) * u128::from(n)))
    }

    /// The largest integer that isn't above this fraction of `n`.
    pub fn floor_of(self, n: u64) -> u64 {
        let product = u128::from(self.numerator) * u128::from(n);
        // The fraction is below 1, so the quotient is below n.
        (product / u128::from(self.denominator)) as u64
    }

    /// The smallest `n` of which this fraction is at least 1.
    pub fn smallest_whole(self) -> u64 {
        self.denominator.div_ceil(self.numerator)
    }
}

impl FromStr for Fraction {
    type Err = Error;

    /// Reads `0.7`, `.7` or `7/10`.
    fn from_str(text: &str) -> Result<Self> {
        let text = text.trim();
        if let Some((numerator, denominator)) = text.split_once('/') {
            let parse = |part: &str| part.trim().parse::<u64>().map_err(|_| outside(text));
            return Self::new(parse(numerator)?, parse(denominator)?);
        }
        let (whole, decimals) = text.split_once('.').unwrap_or((text, ""));
        let all_digits = decimals.bytes().all(|byte| byte.is_ascii_digit());
        if !whole.bytes().all(|byte| byte == b'0') || !all_digits || decimals.is_empty() || decimals.len() > 18 {
            return Err(outside(text));
        }
        let numerator = decimals.parse::<u64>().map_err(|_| outside(text))?;
        Self::new(numerator, 10_u64.pow(decimals.len() as u32))
    }
}

impl fmt::Display for Fraction {
    /// As a decimal where that is exact, else as a ratio; [`FromStr`] reads both back.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match Self::from_decimal(self.value()) {
            Ok(same) if same == *self => write!(f, "{}", self.value()),
            _ => write!(f, "{}/{}", self.numerator, self.denominator),
        }
    }
}

fn outside(text: &str) -> Error {
    Error::new(ErrorKind::Usage, format!("'{text}' isn't a number strictly between 0 and 1"))
        .hint("write it as a decimal (0.05) or as a ratio (1/20)")
}

fn gcd(a: u64, b: u64) -> u64 {
    if b == 0 { a } else { gcd(b, a % b) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_decimals_and_ratios_exactly() {
        for (text, numerator, denominator) in [("0.5", 1, 2), (".05", 1, 20), ("7/10", 7, 10), ("0.29", 29, 100)] {
            let fraction: Fraction = text.parse().unwrap();
            assert_eq!(fraction, Fraction::new(numerator, denominator).unwrap(), "{text}");
            assert_eq!(fraction.to_string().parse::<Fraction>().unwrap(), fraction);
        }
        let third = Fraction::new(1, 3).unwrap();
        assert_eq!(third.to_string(), "1/3");
        assert_eq!(Fraction::from_decimal(0.05).unwrap(), Fraction::new(1, 20).unwrap());
    }

    #[test]
    fn refuses_what_is_not_inside_the_unit_interval() {
        for text in ["0", "1", "0.0", "1.5", "-0.5", "NaN", "inf", "", "a", "1/1", "3/2", "0/5", "1/0", "0.1e3", "1/-2"]
        {
            assert!(text.parse::<Fraction>().is_err(), "{text}");
        }
        assert!(Fraction::from_decimal(f64::NAN).is_err());
    }

    #[test]
    fn compares_without_rounding() {
        let fraction: Fraction = "0.29".parse().unwrap();
        assert_eq!(fraction.floor_of(100), 29, "0.29 * 100 in floating point is below 29");
        assert_eq!(fraction.compare(29, 100), Ordering::Equal);
        assert_eq!(fraction.compare(28, 100), Ordering::Less);
        assert_eq!(Fraction::from_decimal(0.05).unwrap().smallest_whole(), 20);
        assert_eq!(Fraction::from_decimal(0.3).unwrap().smallest_whole(), 4);
    }
}
