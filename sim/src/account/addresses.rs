//! Which addresses and prefixes an ENI holds: assign and unassign, each all or nothing.

use std::collections::BTreeSet;
use std::net::Ipv4Addr;

use super::timeline::Due;
use super::{Account, ApiError, AttachmentStatus, Cidr, Eni, PREFIX_LEN, Reply, Wanted, latency};

/// What a request for addresses or prefixes comes down to.
pub(super) struct Picked {
    /// All that was asked for, for the reply.
    pub(super) all: Vec<Cidr>,
    /// The part the ENI does not hold yet.
    pub(super) new: Vec<Cidr>,
    /// The part of `new` that another ENI loses, with that ENI.
    moved: Vec<(Cidr, String)>,
}

impl Account {
    /// `times` are now and when the reply leaves.
    pub(super) fn assign(
        &mut self,
        times: (u64, u64),
        eni_id: &str,
        wanted: &Wanted,
        allow_reassignment: bool,
    ) -> Result<Reply, ApiError> {
        let (now_ms, reply_ms) = times;
        let eni = self.eni(eni_id)?.clone();
        if eni
            .attachment
            .as_ref()
            .is_some_and(|it| it.status == AttachmentStatus::Detaching)
        {
            return Err(ApiError::incorrect_state(format_args!(
                "Network interface '{eni_id}' is being detached."
            )));
        }
        // A count is held against the limit before EC2 looks for anything to give.
        let count = match wanted {
            Wanted::Nothing => {
                return Err(ApiError::missing_parameter(
                    "SecondaryPrivateIpAddressCount",
                ));
            }
            Wanted::AddressCount(0) | Wanted::PrefixCount(0) => {
                return Err(ApiError::invalid_value(
                    "Value (0) for a count of addresses or prefixes is invalid.",
                ));
            }
            Wanted::AddressCount(count) | Wanted::PrefixCount(count) => *count,
            Wanted::Addresses(_) | Wanted::Prefixes(_) => 0,
        };
        if count > super::types::LARGEST_IPV4_LIMIT {
            return Err(ApiError::too_many_addresses());
        }
        let probe = if matches!(wanted, Wanted::PrefixCount(_)) {
            PREFIX_LEN
        } else {
            32
        };
        self.limit_of(&eni, &vec![Cidr::around(eni.primary, probe); count])?;
        let picked = self.pick(&eni, None, wanted, allow_reassignment)?;
        self.limit_of(&eni, &picked.new)?;

        for (block, loser) in picked.moved {
            self.take_away(now_ms, &loser, &[block]);
        }
        if let Some(subnet) = self.subnets.iter_mut().find(|it| it.id == eni.subnet_id) {
            for block in &picked.new {
                subnet.hold(*block, eni_id);
            }
        }
        self.change_eni(now_ms, eni_id, |it| {
            for block in &picked.new {
                if block.is_address() {
                    it.addresses.insert(block.first());
                } else {
                    it.prefixes.insert(*block);
                }
            }
        });
        self.route(now_ms, reply_ms, eni_id, picked.new);
        let (addresses, prefixes) = picked
            .all
            .into_iter()
            .partition::<Vec<_>, _>(|it| it.is_address());
        let addresses = addresses.into_iter().map(Cidr::first).collect();
        Ok(Reply::Assigned {
            eni_id: eni_id.to_owned(),
            addresses,
            prefixes,
        })
    }

    pub(super) fn unassign(
        &mut self,
        now_ms: u64,
        eni_id: &str,
        addresses: &[Ipv4Addr],
        prefixes: &[Cidr],
    ) -> Result<Reply, ApiError> {
        let eni = self.eni(eni_id)?;
        if addresses.is_empty() && prefixes.is_empty() {
            return Err(ApiError::missing_parameter(
                "PrivateIpAddress or Ipv4Prefix",
            ));
        }
        if !addresses.iter().all(|it| eni.addresses.contains(it))
            || !prefixes.iter().all(|it| eni.prefixes.contains(it))
        {
            let message =
                format!("Some of the specified addresses are not assigned to interface {eni_id}");
            return Err(ApiError::invalid_value(message));
        }
        let blocks: Vec<Cidr> = addresses
            .iter()
            .map(|it| Cidr::address(*it))
            .chain(prefixes.iter().copied())
            .collect();
        self.take_away(now_ms, eni_id, &blocks);
        Ok(Reply::Done)
    }

    /// Chooses what `eni` would get, and changes nothing. `primary` is an address about to be the ENI's primary.
    pub(super) fn pick(
        &mut self,
        eni: &Eni,
        primary: Option<Ipv4Addr>,
        wanted: &Wanted,
        allow_reassignment: bool,
    ) -> Result<Picked, ApiError> {
        let subnet = self
            .subnets
            .iter()
            .find(|it| it.id == eni.subnet_id)
            .ok_or_else(|| ApiError::no_subnet(&eni.subnet_id))?;
        let (all, moved) = match wanted {
            Wanted::Nothing => (Vec::new(), Vec::new()),
            Wanted::AddressCount(count) => {
                let mut free = subnet.pickable_addresses();
                free.retain(|it| Some(*it) != primary);
                enough(free.len(), *count, ApiError::no_free_addresses)?;
                let addresses = self.rng.sample(free, *count);
                (
                    addresses.into_iter().map(Cidr::address).collect(),
                    Vec::new(),
                )
            }
            Wanted::PrefixCount(count) => {
                let fits = |it: &Cidr| primary.is_none_or(|primary| !it.contains(primary));
                let [mut first, mut rest] = subnet.pickable_prefixes();
                first.retain(fits);
                rest.retain(fits);
                enough(first.len() + rest.len(), *count, ApiError::no_free_prefixes)?;
                let mut picked = self.rng.sample(first, *count);
                let more = *count - picked.len();
                picked.extend(self.rng.sample(rest, more));
                (picked, Vec::new())
            }
            Wanted::Addresses(addresses) => {
                let (mut all, mut moved) = (Vec::new(), Vec::new());
                for address in addresses.iter().collect::<BTreeSet<_>>() {
                    let block = Cidr::address(*address);
                    if !subnet.cidr.contains(*address) || subnet.is_reserved(*address) {
                        let message = format!(
                            "Address {address} does not fall within the subnet's address range"
                        );
                        return Err(ApiError::invalid_value(message));
                    }
                    if Some(*address) == primary {
                        return Err(ApiError::invalid_value(format!(
                            "Address {address} is the primary address"
                        )));
                    }
                    match subnet.holder(*address) {
                        Some(holder) if holder != eni.id => {
                            let movable = self
                                .enis
                                .get(holder)
                                .is_some_and(|it| it.addresses.contains(address));
                            if !(allow_reassignment && movable) {
                                return Err(taken(block));
                            }
                            moved.push((block, holder.to_owned()));
                        }
                        Some(_) | None => {}
                    }
                    all.push(block);
                }
                (all, moved)
            }
            Wanted::Prefixes(prefixes) => {
                let mut all = Vec::new();
                for block in prefixes.iter().collect::<BTreeSet<_>>() {
                    let held = eni.prefixes.contains(block);
                    let free = subnet.is_free_prefix(*block)
                        && primary.is_none_or(|it| !block.contains(it));
                    if block.length() != PREFIX_LEN || !subnet.cidr.covers(*block) {
                        return Err(ApiError::invalid_value(format!(
                            "The prefix {block} is not a /28 of the subnet"
                        )));
                    }
                    if !held && !free {
                        return Err(taken(*block));
                    }
                    all.push(*block);
                }
                (all, Vec::new())
            }
        };
        let new = all
            .iter()
            .copied()
            .filter(|it| !eni.blocks().any(|held| held.covers(*it)))
            .collect();
        Ok(Picked { all, new, moved })
    }

    pub(super) fn take_away(&mut self, now_ms: u64, eni_id: &str, blocks: &[Cidr]) {
        let Some(subnet_id) = self.enis.get(eni_id).map(|it| it.subnet_id.clone()) else {
            return;
        };
        if let Some(subnet) = self.subnets.iter_mut().find(|it| it.id == subnet_id) {
            for block in blocks {
                subnet.release(*block);
            }
        }
        self.change_eni(now_ms, eni_id, |it| {
            for block in blocks {
                it.addresses.remove(&block.first());
                it.prefixes.remove(block);
            }
        });
        let at_ms = now_ms + self.draw(latency::UNROUTED);
        self.schedule(
            at_ms,
            Due::Unrouted {
                eni_id: eni_id.to_owned(),
                blocks: blocks.to_vec(),
            },
        );
    }

    /// Has the network deliver `blocks` to the ENI before the reply leaves, and end a former holder's delivery
    /// before that.
    fn route(&mut self, now_ms: u64, reply_ms: u64, eni_id: &str, blocks: Vec<Cidr>) {
        let at_ms = (now_ms + self.draw(latency::ROUTED)).min(reply_ms);
        let overtaken = |due: &Due| {
            matches!(due, Due::Unrouted { blocks: old, .. }
                if old.iter().any(|old| blocks.iter().any(|new| old.overlaps(*new))))
        };
        let late: Vec<_> = self
            .queue
            .iter()
            .filter(|((at, _), due)| *at > at_ms && overtaken(due))
            .map(|(key, _)| *key)
            .collect();
        for key in late {
            if let Some(due) = self.queue.remove(&key) {
                self.schedule(at_ms, due);
            }
        }
        self.schedule(
            at_ms,
            Due::Routed {
                eni_id: eni_id.to_owned(),
                blocks,
            },
        );
    }
}

/// EC2 has one error for a subnet with nothing left and another for one with too little.
fn enough(free: usize, count: usize, nothing_left: fn() -> ApiError) -> Result<(), ApiError> {
    match free {
        0 if count > 0 => Err(nothing_left()),
        _ if free < count => Err(ApiError::fewer_than_asked()),
        _ => Ok(()),
    }
}

fn taken(block: Cidr) -> ApiError {
    let what = if block.is_address() {
        block.first().to_string()
    } else {
        block.to_string()
    };
    ApiError::invalid_value(format!(
        "Some of [{what}] is assigned, but move is not allowed."
    ))
}
