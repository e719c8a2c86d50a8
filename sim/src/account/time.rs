//! Unix milliseconds as the texts AWS writes.

/// ISO 8601 in UTC, as the EC2 API writes it: `2026-01-02T03:04:05.000Z`.
pub fn iso8601_ms(unix_ms: u64) -> String {
    format!("{}.{:03}Z", seconds(unix_ms), unix_ms % 1000)
}

/// ISO 8601 in UTC without a fraction, as the instance metadata writes it: `2026-01-02T03:04:05Z`.
pub fn iso8601(unix_ms: u64) -> String {
    format!("{}Z", seconds(unix_ms))
}

fn seconds(unix_ms: u64) -> String {
    let (days, second) = (unix_ms / 86_400_000, unix_ms / 1000 % 86_400);
    // Days since 1970 to a civil date: shift the year to begin in March, so that the leap day comes last.
    let z = days + 719_468;
    let (era, day_of_era) = (z / 146_097, z % 146_097);
    let year_of_era =
        (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let shifted_month = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * shifted_month + 2) / 5 + 1;
    let month = if shifted_month < 10 {
        shifted_month + 3
    } else {
        shifted_month - 9
    };
    let year = era * 400 + year_of_era + u64::from(month <= 2);
    format!(
        "{year:04}-{month:02}-{day:02}T{:02}:{:02}:{:02}",
        second / 3600,
        second / 60 % 60,
        second % 60
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dates_fall_on_the_right_day() {
        assert_eq!(iso8601_ms(0), "1970-01-01T00:00:00.000Z");
        assert_eq!(iso8601(951_782_400_000), "2000-02-29T00:00:00Z");
        assert_eq!(iso8601_ms(1_767_323_045_006), "2026-01-02T03:04:05.006Z");
        assert_eq!(iso8601(4_107_542_399_000), "2100-02-28T23:59:59Z");
        assert_eq!(iso8601(4_107_542_400_000), "2100-03-01T00:00:00Z");
    }
}
