//! Round numbers for axes.

/// Steps of the time axis in seconds.
const TIMES: [f64; 14] = [
    1.0, 2.0, 5.0, 10.0, 15.0, 30.0, 60.0, 120.0, 300.0, 600.0, 900.0, 1_800.0, 3_600.0, 7_200.0,
];

/// The step of a time axis, so that there are at most twelve.
pub(super) fn time_step(seconds: f64) -> f64 {
    let fits = TIMES.into_iter().find(|step| seconds / step <= 12.0);
    fits.unwrap_or_else(|| (seconds / 12.0 / 3_600.0).ceil() * 3_600.0)
}

/// The step of an axis from 0 to `top`, so that there are at most four: 1, 2 or 5 times a power of
/// ten.
pub(super) fn step(top: f64) -> f64 {
    let rough = (top / 4.0).max(f64::MIN_POSITIVE);
    let power = 10_f64.powf(rough.log10().floor());
    let times = [1.0, 2.0, 5.0, 10.0];
    let fits = times
        .into_iter()
        .find(|times| times * power >= rough * (1.0 - 1e-9));
    fits.unwrap_or(10.0) * power
}

/// A number for an axis: 1500 is `1.5k`.
pub(super) fn short(value: f64) -> String {
    let units = [(1e9, "G"), (1e6, "M"), (1e3, "k")];
    let unit = units.into_iter().find(|(unit, _)| value.abs() >= *unit);
    let (unit, letter) = unit.unwrap_or((1.0, ""));
    let text = format!("{:.2}", value / unit);
    let text = text.trim_end_matches('0').trim_end_matches('.');
    format!("{text}{letter}")
}

/// A time since the start, in the unit of the axis.
pub(super) fn time(seconds: f64, step: f64) -> String {
    let whole = seconds.round() as u64;
    if step < 60.0 && whole < 120 {
        format!("{whole} s")
    } else if step < 60.0 {
        format!("{}:{:02} min", whole / 60, whole % 60)
    } else if step < 3_600.0 {
        format!("{} min", whole / 60)
    } else {
        format!("{} h", whole / 3_600)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn steps_are_round() {
        assert_eq!(step(40_000.0), 10_000.0);
        assert_eq!(step(41_000.0), 20_000.0);
        assert_eq!(step(7.0), 2.0);
        assert_eq!(step(0.3), 0.1);
        assert_eq!(time_step(100.0), 10.0);
        assert_eq!(time_step(3_600.0), 300.0);
        assert_eq!(time_step(200_000.0), 18_000.0);
    }

    #[test]
    fn numbers_are_short() {
        assert_eq!(short(1_500.0), "1.5k");
        assert_eq!(short(20_000_000.0), "20M");
        assert_eq!(short(100.0), "100");
        assert_eq!(short(0.0), "0");
        assert_eq!(time(90.0, 10.0), "90 s");
        assert_eq!(time(150.0, 30.0), "2:30 min");
        assert_eq!(time(3_600.0, 300.0), "60 min");
    }
}
