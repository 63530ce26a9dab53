//! End-to-end tests, on real hosts with real clients.
//!
//! Each module is one subject; `support` has what they share. A test makes its own lab, which takes about two
//! seconds, so tests stay independent; several checks that only need a lab to look at share one.
#![allow(clippy::unwrap_used)]

mod api;
mod auth;
mod autoscaling;
mod awsvpc;
mod campaign;
mod clock;
mod command;
mod cuts;
mod demo;
mod digests;
mod drivers;
mod dualstack;
mod ec2;
mod elsewhere;
mod endurance;
mod engines;
mod eventbridge;
mod events;
mod exec;
mod failpoints;
mod faults;
mod fencing;
mod fields;
mod fulldisk;
mod gpus;
mod group_model;
mod health;
mod hosts;
mod images;
mod lab;
mod ledgers;
mod lifecycle;
mod logs;
mod logtail;
mod members;
mod metadata;
mod moving;
mod netcampaign;
mod netcrash;
mod netfaults;
mod netlife;
mod netstream;
mod outage;
mod overlays;
mod packets;
mod placement;
mod pulls;
mod reboot;
mod registry;
mod revived;
mod runs;
mod runtimes;
mod schedules;
mod services;
mod stops;
mod support;
mod tasks;
mod traffic;
mod zones;
