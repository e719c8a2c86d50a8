//! Policy routing rules.
//!
//! Rules carry no protocol number: the kernel compares it too, so a rule of another protocol number would
//! be a second one beside upstream's. A rule that is deleted is sent back just as it was listed.

use nix::errno::Errno;
use onsen_wiring::{Family, Rule};
use rtnetlink::packet_core::{NLM_F_CREATE, NLM_F_EXCL};
use rtnetlink::packet_route::{
    RouteNetlinkMessage,
    rule::{RuleAction, RuleAttribute, RuleFlags, RuleMessage},
};

use crate::{Net, NetError, address::family_number, error::absent_is_fine};

/// A rule as the kernel lists it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Found {
    /// What it says, for as far as our rules go.
    pub(crate) rule: Rule,
    message: RuleMessage,
}

impl Net {
    /// The rules of a family that ours could be among: those which look up a table and match by
    /// nothing but addresses and mark.
    pub(crate) async fn rules(&self, family: Family) -> Result<Vec<Found>, NetError> {
        let mut question = RuleMessage::default();
        question.header.family = family_number(family);
        let answer = self
            .socket
            .dump(RouteNetlinkMessage::GetRule(question), "list the rules")
            .await?;
        Ok(answer
            .into_iter()
            .filter_map(|message| to_found(message, family))
            .collect())
    }

    /// Adds a rule, unless it is there.
    pub(crate) async fn add_rule(&self, rule: &Rule) -> Result<(), NetError> {
        let message = RouteNetlinkMessage::NewRule(rule_message(rule));
        let added = self
            .socket
            .change(message, NLM_F_CREATE | NLM_F_EXCL, || {
                format!("add the rule {rule}")
            })
            .await;
        absent_is_fine(added, Errno::EEXIST)
    }

    /// Deletes a rule without asking for it first. False when there was none.
    pub(crate) async fn delete_rule(&self, rule: &Rule) -> Result<bool, NetError> {
        let message = RouteNetlinkMessage::DelRule(rule_message(rule));
        let deleted = self
            .socket
            .change(message, 0, || format!("delete the rule {rule}"))
            .await;
        match deleted {
            Ok(()) => Ok(true),
            Err(error) if error.is(Errno::ENOENT) => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// Deletes a rule that was listed.
    pub(crate) async fn delete_found_rule(&self, found: &Found) -> Result<(), NetError> {
        let message = RouteNetlinkMessage::DelRule(found.message.clone());
        let deleted = self
            .socket
            .change(message, 0, || format!("delete the rule {}", found.rule))
            .await;
        absent_is_fine(deleted, Errno::ENOENT)
    }

    /// Makes the rules that `ours` picks out of the listed ones exactly `wanted`. Missing ones are
    /// added before others are deleted, so that no packet finds neither.
    pub(crate) async fn reconcile_rules(
        &self,
        listed: &[Found],
        ours: impl Fn(&Rule) -> bool,
        wanted: &[Rule],
    ) -> Result<(), NetError> {
        for rule in wanted {
            if !listed.iter().any(|found| found.rule == *rule) {
                self.add_rule(rule).await?;
            }
        }
        let mut kept: Vec<&Rule> = Vec::new();
        for found in listed.iter().filter(|found| ours(&found.rule)) {
            // The same rule may be there twice, under different protocol numbers. Which one stays
            // does not matter: a deletion that names protocol 0 takes the first it meets.
            if wanted.contains(&found.rule) && !kept.contains(&&found.rule) {
                kept.push(&found.rule);
            } else {
                self.delete_found_rule(found).await?;
            }
        }
        Ok(())
    }
}

fn rule_message(rule: &Rule) -> RuleMessage {
    let mut message = RuleMessage::default();
    message.header.family = family_number(rule.family);
    // The default, no action at all, is accepted and then fails every lookup that meets the rule.
    message.header.action = RuleAction::ToTable;
    message
        .attributes
        .push(RuleAttribute::Priority(rule.priority));
    message.attributes.push(RuleAttribute::Table(rule.table));
    if let Ok(table) = u8::try_from(rule.table) {
        message.header.table = table;
    }
    if let Some((address, length)) = rule.from {
        message.header.src_len = length;
        message.attributes.push(RuleAttribute::Source(address));
    }
    if let Some((address, length)) = rule.to {
        message.header.dst_len = length;
        message.attributes.push(RuleAttribute::Destination(address));
    }
    if let Some((mark, mask)) = rule.mark {
        message.attributes.push(RuleAttribute::FwMark(mark));
        message.attributes.push(RuleAttribute::FwMask(mask));
    }
    message
}

fn to_found(message: RouteNetlinkMessage, family: Family) -> Option<Found> {
    let RouteNetlinkMessage::NewRule(message) = message else {
        return None;
    };
    if message.header.action != RuleAction::ToTable
        || message.header.flags.contains(RuleFlags::Invert)
        || message.header.tos != 0
    {
        return None;
    }
    let mut rule = Rule {
        family,
        priority: 0,
        from: None,
        to: None,
        mark: None,
        table: u32::from(message.header.table),
    };
    let mut mark = (0, 0);
    for attribute in &message.attributes {
        if let RuleAttribute::Priority(priority) = attribute {
            rule.priority = *priority;
        } else if let RuleAttribute::Table(table) = attribute {
            rule.table = *table;
        } else if let RuleAttribute::Source(address) = attribute {
            rule.from = Some((*address, message.header.src_len));
        } else if let RuleAttribute::Destination(address) = attribute {
            rule.to = Some((*address, message.header.dst_len));
        } else if let RuleAttribute::FwMark(value) = attribute {
            mark.0 = *value;
        } else if let RuleAttribute::FwMask(value) = attribute {
            mark.1 = *value;
        } else if !matches!(
            attribute,
            RuleAttribute::Protocol(_) | RuleAttribute::SuppressPrefixLen(u32::MAX)
        ) {
            return None;
        }
    }
    if mark.1 != 0 {
        rule.mark = Some(mark);
    }
    Some(Found { rule, message })
}
