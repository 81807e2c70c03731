//! Repeated parts of a network as blocks.
//!
//! A *cut* is a place in the order of the layers where one value only is read later. Between two cuts there is
//! one layer, or a *region*: layers with one value in and one out, such as both branches of a residual
//! block and their sum. An activation behind a sum belongs to it. Regions are alike if their layers, their
//! wiring and the names within are the same; sizes may differ, and become parameters. Two or more that are
//! alike become a block. The names of layers whose weights are not named in the file may change for it.

use super::names::{Name, word};
use super::network::Network;
use super::text::{Attribute, Setting, attributes_of};
use crate::layers::{Conv, Layer};
use std::collections::{BTreeMap, BTreeSet};

/// A block of the language.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Block {
    pub(super) name: String,
    pub(super) parameters: Vec<String>,
    /// The region that its text is made from.
    pub(super) region: Region,
    /// The name of each unit of the region within the block, and its attributes, parameters put in.
    pub(super) layers: Vec<(Option<String>, Vec<String>)>,
}

/// Consecutive units that read each other and the value `entry`; the last is what comes out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Region {
    pub(super) entry: usize,
    pub(super) first: usize,
    pub(super) last: usize,
}

/// The use of a block in the place of a region.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Call {
    pub(super) region: Region,
    pub(super) block: usize,
    /// A number for each parameter.
    pub(super) arguments: Vec<usize>,
    pub(super) name: String,
}

/// Blocks and their calls, in the order of the network.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Plan {
    pub(super) blocks: Vec<Block>,
    pub(super) calls: Vec<Call>,
}

/// How a region's layers are named: the call, and each unit within it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Named {
    call: String,
    inner: Vec<Option<String>>,
}

/// Regions that are alike, with the names of their calls: by skeleton and names within.
type Groups = BTreeMap<(String, Vec<Option<String>>), Vec<(Region, Option<String>)>>;

/// Finds blocks; `names` are changed where a block gives others.
pub(super) fn plan(network: &Network, names: &mut [Option<Name>]) -> Plan {
    let regions = with_chains(network, names, extended(network, names, regions(network)));
    let mut groups = Groups::new();
    let mut loose = Groups::new();
    let add = |into: &mut Groups, region, named: Named| {
        into.entry((skeleton(network, region), named.inner)).or_default().push((region, Some(named.call)));
    };
    for &region in &regions {
        if let Some(named) = named(network, names, region) {
            add(&mut groups, region, named);
        } else if region.units().all(|i| names[i].as_ref().is_none_or(|n| !n.kept)) {
            let key = (skeleton(network, region), counted(network, region));
            loose.entry(key).or_default().push((region, None));
        }
    }
    // What stands alone may still be like others but for names that are free.
    groups.retain(|_, members| {
        let [(region, call)] = members.as_slice() else { return true };
        if region.units().all(|i| names[i].as_ref().is_none_or(|n| !n.kept)) {
            let key = (skeleton(network, *region), counted(network, *region));
            loose.entry(key).or_default().push((*region, call.clone()));
        }
        false
    });
    let mut found: Vec<_> =
        groups.into_iter().chain(loose).filter(|(_, members)| members.len() > 1).collect();
    found.iter_mut().for_each(|(_, members)| members.sort_by_key(|(region, _)| region.first));
    found.sort_by_key(|(_, members)| members.first().map(|(region, _)| region.first));
    let mut plan = Plan::default();
    for ((_, inner), members) in found {
        plan.add(network, names, &inner, &members);
    }
    plan.calls.sort_by_key(|call| call.region.first);
    plan
}

impl Region {
    pub(super) fn units(self) -> std::ops::RangeInclusive<usize> {
        self.first..=self.last
    }
}

/// All regions, in order.
fn regions(network: &Network) -> Vec<Region> {
    let count = network.units.len();
    let mut last_read = vec![0; count];
    for (i, unit) in network.units.iter().enumerate() {
        unit.operands.iter().for_each(|&o| last_read[o] = i);
    }
    last_read[network.output] = count;
    let mut regions: Vec<Region> = Vec::new();
    let (mut cut, mut open) = (0, 0);
    for (i, unit) in network.units.iter().enumerate() {
        // `open`: up to where a value before this one is read.
        if open <= i {
            match regions.last_mut() {
                Some(region) if region.last + 1 == i && closes(network, *region, i) => region.last = i,
                _ if i > cut + 1 => regions.push(Region { entry: cut, first: cut + 1, last: i }),
                _ => {}
            }
            cut = i;
        }
        debug_assert!(unit.operands.iter().all(|&o| o < i));
        open = open.max(last_read[i]);
    }
    regions
}

/// Regions with the convolution in front that has a name of the same beginning, and what is between: as the
/// squeezing convolution of a fire module.
fn extended(network: &Network, names: &[Option<Name>], regions: Vec<Region>) -> Vec<Region> {
    let mut readers = vec![0; network.units.len()];
    network.units.iter().flat_map(|u| &u.operands).for_each(|&o| readers[o] += 1);
    let mut end = 0;
    let longer = |region: Region, end: usize| {
        let mut first = region.entry;
        while !matches!(network.units[first].layer, Layer::Conv(_) | Layer::Linear(_)) {
            let before = network.units[first].operands.as_slice();
            let &[before] = before else { return region };
            if before + 1 != first || before <= end || readers[before] != 1 {
                return region;
            }
            first = before;
        }
        let &[entry] = network.units[first].operands.as_slice() else { return region };
        let long = Region { entry, first, last: region.last };
        let call = |region| named(network, names, region).map(|n| n.call);
        let alike = first > end && entry + 1 == first && call(region).is_some() && call(region) == call(long);
        if alike { long } else { region }
    };
    let mut out = Vec::with_capacity(regions.len());
    for region in regions {
        let region = longer(region, end);
        end = region.last;
        out.push(region);
    }
    out
}

/// Regions, and between them runs of layers of one module: one behind the other, with names that differ in
/// the last part only, and at least two convolutions; the activation behind them belongs to them.
fn with_chains(network: &Network, names: &[Option<Name>], regions: Vec<Region>) -> Vec<Region> {
    let within: BTreeSet<usize> = regions.iter().flat_map(|r| r.units()).collect();
    let mut out = regions;
    let mut run: Option<(Region, &str)> = None;
    let mut finish = |run: Option<(Region, &str)>| {
        let convolution = |i: &usize| matches!(network.units[*i].layer, Layer::Conv(_));
        out.extend(run.map(|(region, _)| region).filter(|r| r.units().filter(convolution).count() > 1));
    };
    for (i, unit) in network.units.iter().enumerate().skip(1) {
        let before = run.map(|(region, _)| region.last);
        let behind = !within.contains(&i) && Some(unit.operands.as_slice()) == before.as_slice().get(..1);
        let module =
            names[i].as_ref().filter(|n| n.kept).and_then(|n| n.text.rsplit_once('.')).map(|(m, _)| m);
        match (&mut run, module, &unit.layer) {
            (Some((region, own)), Some(module), _) if behind && *own == module => region.last = i,
            (Some((region, _)), None, Layer::Activation(_)) if behind => region.last = i,
            (_, Some(module), _) if !within.contains(&i) && unit.operands.len() == 1 => {
                finish(run.take());
                run = Some((Region { entry: unit.operands[0], first: i, last: i }, module));
            }
            _ => finish(run.take()),
        }
    }
    finish(run.take());
    out.sort_by_key(|region| region.first);
    out
}

/// Whether unit `i` is an activation right behind the sum that a region ends with.
fn closes(network: &Network, region: Region, i: usize) -> bool {
    network.units[region.last].layer == Layer::Add && matches!(network.units[i].layer, Layer::Activation(_))
}

/// What must be the same in regions that are alike.
fn skeleton(network: &Network, region: Region) -> String {
    let mut text = String::new();
    for i in region.units() {
        let unit = &network.units[i];
        text.push_str(unit.layer.kind());
        for &operand in &unit.operands {
            // The value that comes in is 0.
            let place = if operand == region.entry { 0 } else { operand + 1 - region.first };
            text.push_str(&format!(" {place}"));
        }
        for attribute in attributes_of(unit) {
            match attribute.value {
                Setting::Fixed(value) => text.push_str(&format!(" {}={value}", attribute.key)),
                Setting::Number { .. } => text.push_str(&format!(" {}", attribute.key)),
            }
        }
        text.push(';');
    }
    text
}

/// The names that a region's layers have in the file, if they have a common beginning that can be the call's.
fn named(network: &Network, names: &[Option<Name>], region: Region) -> Option<Named> {
    let weighted: Vec<&Name> = region.units().filter_map(|i| names[i].as_ref()).collect();
    let kept: Vec<&str> = weighted.iter().filter(|n| n.kept).map(|n| n.text.as_str()).collect();
    let (all, separators): (Vec<&str>, &[char]) = if kept.is_empty() {
        (weighted.iter().map(|n| n.text.as_str()).collect(), &['.', '_'])
    } else {
        (kept, &['.'])
    };
    let call = beginning(&all, separators)?;
    let counted = counted(network, region);
    let inner: Vec<Option<String>> = region
        .units()
        .zip(counted)
        .map(|(i, counted)| {
            let name = names[i].as_ref()?;
            let rest = name.text.strip_prefix(call).and_then(|rest| rest.strip_prefix(separators));
            rest.filter(|r| !r.is_empty()).map(str::to_owned).or(counted)
        })
        .collect();
    let own: Vec<&String> = inner.iter().flatten().collect();
    let distinct: BTreeSet<&&String> = own.iter().collect();
    let sound = own.iter().all(|n| !n.split('.').any(str::is_empty)) && distinct.len() == own.len();
    sound.then(|| Named { call: call.to_owned(), inner })
}

/// The common beginning of `names` up to a separator, which all of them go on behind.
fn beginning<'a>(names: &[&'a str], separators: &[char]) -> Option<&'a str> {
    let first = *names.first()?;
    let common = names.iter().skip(1).fold(first.len(), |n, other| {
        let same = first.bytes().zip(other.bytes()).take_while(|(a, b)| a == b).count();
        n.min(same)
    });
    let end = first.get(..common)?.rfind(separators)?;
    first.get(..end).filter(|call| !call.is_empty() && !call.split('.').any(str::is_empty))
}

/// Names within a region that has none: the layers' words, numbered.
fn counted(network: &Network, region: Region) -> Vec<Option<String>> {
    let mut counts: BTreeMap<&str, usize> = BTreeMap::new();
    region
        .units()
        .map(|i| {
            let unit = &network.units[i];
            if unit.weights.is_empty() {
                return None;
            }
            let count = counts.entry(word(unit)).or_insert(0);
            *count += 1;
            Some(format!("{}{count}", word(unit)))
        })
        .collect()
}

impl Plan {
    /// Adds the block of regions that are alike, if the names that it gives are not taken.
    fn add(
        &mut self,
        network: &Network,
        names: &mut [Option<Name>],
        inner: &[Option<String>],
        members: &[(Region, Option<String>)],
    ) {
        let Some(&(example, _)) = members.first() else { return };
        let base = kind(network, example);
        let same =
            self.blocks.iter().filter(|b| b.name.trim_end_matches(|c: char| c.is_ascii_digit()) == base);
        let name = match same.count() {
            0 => base.to_owned(),
            n => format!("{base}{}", n + 1),
        };
        let calls: Vec<String> = members
            .iter()
            .enumerate()
            .map(|(k, (_, call))| call.clone().unwrap_or_else(|| format!("{name}_{}", k + 1)))
            .collect();
        if !rename(names, inner, members, &calls) {
            return;
        }
        let (parameters, arguments, layers) = parameters(network, inner, members);
        let block = self.blocks.len();
        self.blocks.push(Block { name, parameters, region: example, layers });
        for (((region, _), name), arguments) in members.iter().zip(calls).zip(arguments) {
            self.calls.push(Call { region: *region, block, arguments, name });
        }
    }
}

/// Gives the units of all members the names that follow from their calls; does nothing and says so if one of
/// them is another unit's, or a name that must stay would change.
fn rename(
    names: &mut [Option<Name>],
    inner: &[Option<String>],
    members: &[(Region, Option<String>)],
    calls: &[String],
) -> bool {
    let within: BTreeSet<usize> = members.iter().flat_map(|(region, _)| region.units()).collect();
    let outside =
        names.iter().enumerate().filter(|(i, _)| !within.contains(i)).filter_map(|(_, n)| n.as_ref());
    let mut taken: BTreeSet<String> = outside.map(|n| n.text.clone()).collect();
    let mut renamed = Vec::new();
    for ((region, _), call) in members.iter().zip(calls) {
        for (i, own) in region.units().zip(inner) {
            let Some(own) = own else { continue };
            let text = format!("{call}.{own}");
            let stays = names[i].as_ref().is_some_and(|n| !n.kept || n.text == text);
            if !stays || !taken.insert(text.clone()) {
                return false;
            }
            renamed.push((i, text));
        }
    }
    for (i, text) in renamed {
        if let Some(name) = &mut names[i] {
            name.text = text;
        }
    }
    true
}

type Parameters = (Vec<String>, Vec<Vec<usize>>, Vec<(Option<String>, Vec<String>)>);

/// Numbers that differ between the members, as parameters: their names, what each member gives for them, and
/// the layers' attributes with them.
fn parameters(
    network: &Network,
    inner: &[Option<String>],
    members: &[(Region, Option<String>)],
) -> Parameters {
    let attributes: Vec<Vec<Vec<Attribute>>> = members
        .iter()
        .map(|(region, _)| region.units().map(|i| attributes_of(&network.units[i])).collect())
        .collect();
    let mut found: Vec<(String, Vec<usize>)> = Vec::new();
    let mut layers = Vec::new();
    let Some(example) = attributes.first() else { return (Vec::new(), Vec::new(), Vec::new()) };
    for (place, (own, inner)) in example.iter().zip(inner).enumerate() {
        let mut written = Vec::new();
        for (k, attribute) in own.iter().enumerate() {
            let number = |member: &Vec<Vec<Attribute>>| match member
                .get(place)
                .and_then(|a| a.get(k))
                .map(|a| &a.value)
            {
                Some(Setting::Number { value, .. }) => Some(*value),
                Some(Setting::Fixed(_)) | None => None,
            };
            let values: Option<Vec<usize>> = attributes.iter().map(number).collect();
            match values.filter(|values| values.iter().any(|v| Some(v) != values.first())) {
                None => written.extend(attribute.written()),
                Some(values) => {
                    let name = match found.iter().find(|(_, other)| *other == values) {
                        Some((name, _)) => name.clone(),
                        None => {
                            let name = parameter(attribute.key, &found);
                            found.push((name.clone(), values));
                            name
                        }
                    };
                    written.push(format!("{}: {name}", attribute.key));
                }
            }
        }
        layers.push((inner.clone(), written));
    }
    let arguments = (0..members.len()).map(|m| found.iter().map(|(_, values)| values[m]).collect()).collect();
    (found.into_iter().map(|(name, _)| name).collect(), arguments, layers)
}

/// A name for a parameter that sets `key`.
fn parameter(key: &str, found: &[(String, Vec<usize>)]) -> String {
    let base = if key == "out" { "width" } else { key };
    let mut name = base.to_owned();
    let mut number = 1;
    while found.iter().any(|(other, _)| *other == name) {
        number += 1;
        name = format!("{base}{number}");
    }
    name
}

/// A word for a region: by how it ends, and whether what comes in is part of that.
fn kind(network: &Network, region: Region) -> &'static str {
    let joins = |layer: &Layer| matches!(layer, Layer::Add | Layer::Concat);
    let Some(join) = region.units().rev().map(|i| &network.units[i]).find(|u| joins(&u.layer)) else {
        return "chain";
    };
    let passes = join.operands.contains(&region.entry);
    let strides = |i: usize| matches!(network.units[i].layer, Layer::Conv(Conv { stride: (2.., _), .. }));
    match (&join.layer, passes) {
        (Layer::Add, true) => "residual",
        (Layer::Add, false) if region.units().any(strides) => "downsample",
        (Layer::Add, false) => "projection",
        (_, true) => "dense",
        (_, false) => "branches",
    }
}
