//! The listings: ids, filters, pages, and how old the view is that they show.

use std::collections::BTreeMap;

use super::eni::OLDEST_READ_MS;
use super::{
    Account, ApiError, Describe, Eni, Instance, InstanceState, InstanceType, InstanceView, Page,
    Reply, Subnet, SubnetView, latency,
};

/// How long a page token is good for.
const PAGE_TOKEN_LIFETIME_MS: u64 = 3_600_000;
const MAX_FILTER_VALUES: usize = 200;

/// The values an object has for a filter; none when the listing has no such filter.
type Values = Option<Vec<String>>;

impl Account {
    pub(super) fn describe_enis(
        &mut self,
        now_ms: u64,
        request: &Describe,
        stale_ms: u64,
        cut: bool,
    ) -> Result<Reply, ApiError> {
        let lag = latency::draw(&mut self.rng, latency::READ_LAG, self.config.read_lag_scale);
        let lag = lag.max(stale_ms).min(OLDEST_READ_MS);
        let seen: Vec<Eni> = self
            .history
            .values()
            .filter_map(|it| it.at(now_ms.saturating_sub(lag)))
            .cloned()
            .collect();
        let mut page = list(
            now_ms,
            request,
            seen,
            (5, 1000),
            |it| &it.id,
            |it, name| self.eni_values(it, name),
            ApiError::no_eni,
        )?;
        if cut && request.ids.is_empty() {
            let first = request.next_token.is_none();
            page = cut_short(now_ms, page, first, |it| &it.id);
        }
        Ok(Reply::Enis(page))
    }

    pub(super) fn describe_instances(
        &self,
        now_ms: u64,
        request: &Describe,
    ) -> Result<Reply, ApiError> {
        let all = self.instances().collect();
        let page = list(
            now_ms,
            request,
            all,
            (5, 1000),
            |it| &it.instance_id,
            instance_values,
            ApiError::no_instance,
        )?;
        Ok(Reply::Instances(page))
    }

    pub(super) fn describe_subnets(
        &self,
        now_ms: u64,
        request: &Describe,
    ) -> Result<Reply, ApiError> {
        let all = self.subnets().collect();
        let page = list(
            now_ms,
            request,
            all,
            (5, 1000),
            |it| &it.subnet_id,
            subnet_values,
            ApiError::no_subnet,
        )?;
        Ok(Reply::Subnets(page))
    }

    // `&self` keeps the four listings alike.
    #[expect(
        clippy::unused_self,
        reason = "the table of types is the same for every account"
    )]
    pub(super) fn describe_instance_types(
        &self,
        now_ms: u64,
        request: &Describe,
    ) -> Result<Reply, ApiError> {
        let values = |it: &InstanceType, name: &str| match name {
            "instance-type" => Some(vec![it.name.clone()]),
            "hypervisor" => Some(it.hypervisor.iter().cloned().collect()),
            "bare-metal" => Some(vec![it.bare_metal.to_string()]),
            _ => None,
        };
        let unknown = |name: &str| {
            let message = format!("The following supplied instance types do not exist: [{name}]");
            ApiError::refused("InvalidInstanceType", message)
        };
        let page = list(
            now_ms,
            request,
            InstanceType::all().collect(),
            (5, 100),
            |it| &it.name,
            values,
            unknown,
        )?;
        Ok(Reply::InstanceTypes(page))
    }

    pub(super) fn view_subnet(&self, subnet: &Subnet) -> SubnetView {
        SubnetView {
            subnet_id: subnet.id.clone(),
            vpc_id: self.vpc_id.clone(),
            cidr: subnet.cidr,
            zone: subnet.zone.clone(),
            available_addresses: subnet.free_count(),
            available_prefixes: subnet.free_prefixes().len(),
            tags: pairs(&subnet.tags),
        }
    }

    pub(super) fn view_instance(&self, instance: &Instance) -> InstanceView {
        let subnet = self.subnets.get(instance.subnet);
        let mut enis: Vec<Eni> = self
            .enis
            .values()
            .filter(|it| it.is_on(&instance.id))
            .cloned()
            .collect();
        enis.sort_by_key(|it| {
            it.attachment
                .as_ref()
                .map(|it| (it.network_card, it.device_index))
        });
        InstanceView {
            instance_id: instance.id.clone(),
            name: instance.name.clone(),
            instance_type: instance.kind.name.clone(),
            state: instance.state,
            zone: subnet.map(|it| it.zone.clone()).unwrap_or_default(),
            subnet_id: subnet.map(|it| it.id.clone()).unwrap_or_default(),
            vpc_id: self.vpc_id.clone(),
            private_address: enis.first().map(|it| it.primary),
            tags: vec![("Name".to_owned(), instance.name.clone())],
            enis,
        }
    }

    fn eni_values(&self, eni: &Eni, name: &str) -> Values {
        let attachment = eni.attachment.as_ref();
        let one = |value: &str| Some(vec![value.to_owned()]);
        let attached = |value: fn(&super::Attachment) -> String| {
            Some(attachment.map(value).into_iter().collect())
        };
        match name {
            "addresses.primary" => {
                let secondary = (!eni.addresses.is_empty()).then(|| "false".to_owned());
                Some(
                    std::iter::once("true".to_owned())
                        .chain(secondary)
                        .collect(),
                )
            }
            "addresses.private-ip-address" => Some(
                std::iter::once(&eni.primary)
                    .chain(&eni.addresses)
                    .map(ToString::to_string)
                    .collect(),
            ),
            "attachment.attach-time" => attached(|it| super::iso8601_ms(it.attached_at_ms)),
            "attachment.attachment-id" => attached(|it| it.id.clone()),
            "attachment.delete-on-termination" => {
                attached(|it| it.delete_on_termination.to_string())
            }
            "attachment.device-index" => attached(|it| it.device_index.to_string()),
            "attachment.instance-id" => attached(|it| it.instance_id.clone()),
            "attachment.instance-owner-id" => {
                Some(attachment.map(|_| self.id.clone()).into_iter().collect())
            }
            "attachment.status" => attached(|it| it.status.name().to_owned()),
            "availability-zone" => one(&eni.zone),
            "description" => one(&eni.description),
            "group-id" => Some(eni.groups.clone()),
            "interface-type" => one("interface"),
            "mac-address" => one(&eni.mac),
            "network-interface-id" => one(&eni.id),
            "owner-id" => one(&self.id),
            "private-ip-address" => Some(vec![eni.primary.to_string()]),
            "requester-managed" => one("false"),
            "source-dest-check" => one("true"),
            "status" => one(eni.status.name()),
            "subnet-id" => one(&eni.subnet_id),
            "vpc-id" => one(&eni.vpc_id),
            _ => tag_values(
                eni.tags
                    .iter()
                    .map(|(key, value)| (key.as_str(), value.as_str())),
                name,
            ),
        }
    }
}

fn instance_values(it: &InstanceView, name: &str) -> Values {
    let one = |value: &str| Some(vec![value.to_owned()]);
    match name {
        "instance-id" => one(&it.instance_id),
        "instance-type" => one(&it.instance_type),
        "instance-state-name" => one(if it.state == InstanceState::Running {
            "running"
        } else {
            "terminated"
        }),
        "availability-zone" => one(&it.zone),
        "subnet-id" => one(&it.subnet_id),
        "vpc-id" => one(&it.vpc_id),
        "private-ip-address" => Some(it.private_address.iter().map(ToString::to_string).collect()),
        _ => tag_values(
            it.tags
                .iter()
                .map(|(key, value)| (key.as_str(), value.as_str())),
            name,
        ),
    }
}

fn subnet_values(it: &SubnetView, name: &str) -> Values {
    let one = |value: &str| Some(vec![value.to_owned()]);
    match name {
        "subnet-id" => one(&it.subnet_id),
        "vpc-id" => one(&it.vpc_id),
        "cidr-block" | "cidr" | "cidrBlock" => Some(vec![it.cidr.to_string()]),
        "availability-zone" | "availabilityZone" => one(&it.zone),
        "state" => one("available"),
        "available-ip-address-count" => Some(vec![it.available_addresses.to_string()]),
        _ => tag_values(
            it.tags
                .iter()
                .map(|(key, value)| (key.as_str(), value.as_str())),
            name,
        ),
    }
}

fn tag_values<'a>(mut tags: impl Iterator<Item = (&'a str, &'a str)>, name: &str) -> Values {
    if name == "tag-key" {
        return Some(tags.map(|(key, _)| key.to_owned()).collect());
    }
    let wanted = name.strip_prefix("tag:")?;
    Some(
        tags.find(|(key, _)| *key == wanted)
            .map(|(_, value)| value.to_owned())
            .into_iter()
            .collect(),
    )
}

fn pairs(tags: &BTreeMap<String, String>) -> Vec<(String, String)> {
    tags.iter()
        .map(|(key, value)| (key.clone(), value.clone()))
        .collect()
}

/// The page of `all` that `request` asks for. `sizes` are the least and the largest page.
fn list<T: Clone>(
    now_ms: u64,
    request: &Describe,
    mut all: Vec<T>,
    sizes: (usize, usize),
    id: impl Fn(&T) -> &String,
    values: impl Fn(&T, &str) -> Values,
    unknown: impl Fn(&str) -> ApiError,
) -> Result<Page<T>, ApiError> {
    let paged = request.max_results.is_some() || request.next_token.is_some();
    if !request.ids.is_empty() && paged {
        return Err(ApiError::invalid_combination(
            "Ids cannot be used together with MaxResults or NextToken",
        ));
    }
    if request
        .max_results
        .is_some_and(|it| !(sizes.0..=sizes.1).contains(&it))
    {
        let message = format!(
            "Value for parameter MaxResults must be between {} and {}",
            sizes.0, sizes.1
        );
        return Err(ApiError::invalid_value(message));
    }
    all.sort_by(|a, b| id(a).cmp(id(b)));
    if let Some(missing) = request
        .ids
        .iter()
        .find(|wanted| !all.iter().any(|it| id(it) == *wanted))
    {
        return Err(unknown(missing));
    }
    if !request.ids.is_empty() {
        all.retain(|it| request.ids.contains(id(it)));
    }
    let any = all.first().cloned();
    for (name, wanted) in &request.filters {
        if wanted.len() > MAX_FILTER_VALUES {
            let message = format!("The maximum number of filter values is {MAX_FILTER_VALUES}");
            return Err(ApiError::refused("FilterLimitExceeded", message));
        }
        // Even when an earlier filter has left nothing to list, an unknown filter is an error.
        if any.as_ref().is_some_and(|it| values(it, name).is_none()) {
            return Err(ApiError::invalid_value(format!(
                "The filter '{name}' is invalid"
            )));
        }
        let fits = |value: &String| wanted.iter().any(|pattern| matches(pattern, value));
        all.retain(|it| values(it, name).is_some_and(|values| values.iter().any(fits)));
    }
    if let Some(token) = &request.next_token {
        let last = read_token(now_ms, token).ok_or_else(|| {
            ApiError::refused(
                "InvalidNextToken",
                format!("The token '{token}' is invalid or expired"),
            )
        })?;
        all.retain(|it| *id(it) > last);
    }
    let size = request.max_results.unwrap_or(sizes.1);
    let more = paged && all.len() > size;
    if more {
        all.truncate(size);
    }
    let next_token = all
        .last()
        .filter(|_| more)
        .map(|it| write_token(now_ms, id(it)));
    Ok(Page {
        items: all,
        next_token,
    })
}

/// A page as short as EC2 may make it: nothing on the first one, then one object each.
fn cut_short<T>(
    now_ms: u64,
    mut page: Page<T>,
    first: bool,
    id: impl Fn(&T) -> &String,
) -> Page<T> {
    let most = usize::from(!first);
    if page.items.len() > most {
        page.items.truncate(most);
        let last = page.items.last().map_or("", |it| id(it));
        page.next_token = Some(write_token(now_ms, last));
    }
    page
}

fn write_token(now_ms: u64, last: &str) -> String {
    use std::fmt::Write as _;
    let mut token = format!("{now_ms:016x}");
    for byte in last.bytes() {
        let _ = write!(token, "{byte:02x}");
    }
    token
}

/// The id after which the page begins.
fn read_token(now_ms: u64, token: &str) -> Option<String> {
    let made_ms = u64::from_str_radix(token.get(..16)?, 16).ok()?;
    let bytes: Option<Vec<u8>> = (16..token.len())
        .step_by(2)
        .map(|at| u8::from_str_radix(token.get(at..at + 2)?, 16).ok())
        .collect();
    let last = String::from_utf8(bytes?).ok()?;
    (made_ms <= now_ms && now_ms < made_ms.saturating_add(PAGE_TOKEN_LIFETIME_MS)).then_some(last)
}

/// Whether `value` fits `pattern`, in which `*` stands for any text and `?` for any character.
fn matches(pattern: &str, value: &str) -> bool {
    let (pattern, value): (Vec<char>, Vec<char>) =
        (pattern.chars().collect(), value.chars().collect());
    // The classic walk: on a mismatch go back to the last star and let it take one character more.
    let (mut p, mut v, mut star) = (0, 0, None);
    while v < value.len() {
        match pattern.get(p) {
            Some('*') => {
                star = Some((p, v));
                p += 1;
            }
            Some(it) if *it == '?' || Some(it) == value.get(v) => {
                p += 1;
                v += 1;
            }
            Some(_) | None => match star {
                Some((at, taken)) => {
                    p = at + 1;
                    v = taken + 1;
                    star = Some((at, taken + 1));
                }
                None => return false,
            },
        }
    }
    pattern.iter().skip(p).all(|it| *it == '*')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn wildcards_match_as_in_a_shell() {
        for (pattern, value, fits) in [
            ("eni-*", "eni-0a", true),
            ("eni-*", "i-0a", false),
            ("*", "", true),
            ("a*c*e", "abcde", true),
            ("a*c*e", "abcdf", false),
            ("a?c", "abc", true),
            ("a?c", "ac", false),
            ("", "", true),
            ("", "a", false),
            ("**a", "bba", true),
        ] {
            assert_eq!(matches(pattern, value), fits, "{pattern} {value}");
        }
    }

    #[test]
    fn a_page_token_is_good_for_an_hour_and_no_nonsense_is_one() {
        let token = write_token(1_000, "eni-0ä");
        assert_eq!(read_token(2_000, &token).as_deref(), Some("eni-0ä"));
        assert_eq!(read_token(1_000 + PAGE_TOKEN_LIFETIME_MS, &token), None);
        for bad in [
            "",
            "zz",
            "0000000000000001f",
            "0000000000000001zz",
            "€€€€€€€€€€€€€€€€",
        ] {
            assert_eq!(read_token(2_000, bad), None, "{bad}");
        }
    }
}
