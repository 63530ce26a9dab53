//! The parts of EC2 that users of ECS touch for task networking: security groups, and the network's one VPC, one
//! subnet and interfaces. Query parameters in, XML out; names are those of the published service model.
//!
//! Requests are read by [`params`], answers written by [`xml`]. Every change is one command; a parameter that is not
//! known here is refused by name.

mod describe;
mod error;
mod filter;
mod groups;
mod interfaces;
mod params;
mod rules;
mod tags;
mod xml;

pub use error::Ec2Error;
pub(crate) use params::{expecting, is_id};

use crate::caller::Caller;
use crate::handle::Core;
use crate::page::Listing;
use crate::records::Network;
use crate::state::State;
use params::Params;
use std::sync::Arc;
use xml::Xml;

/// The service's name in a credential scope.
pub const SIGNING_NAME: &str = "ec2";
/// The only version of the API that there is.
const VERSION: &str = "2016-11-15";

macro_rules! operations {
    ($($name:ident),+ $(,)?) => {
        /// An operation of EC2 that is here.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
        pub enum Ec2Operation {
            $(
                #[doc = concat!("`", stringify!($name), "`")]
                $name,
            )+
        }

        impl Ec2Operation {
            /// All of them.
            pub const ALL: &[Self] = &[$(Self::$name),+];

            /// Its name.
            #[must_use]
            pub const fn name(self) -> &'static str {
                match self {
                    $(Self::$name => stringify!($name),)+
                }
            }
        }
    };
}

operations!(
    AuthorizeSecurityGroupEgress,
    AuthorizeSecurityGroupIngress,
    CreateSecurityGroup,
    CreateTags,
    DeleteSecurityGroup,
    DeleteTags,
    DescribeAvailabilityZones,
    DescribeNetworkInterfaces,
    DescribeSecurityGroupRules,
    DescribeSecurityGroups,
    DescribeSubnets,
    DescribeTags,
    DescribeVpcs,
    ModifySecurityGroupRules,
    RevokeSecurityGroupEgress,
    RevokeSecurityGroupIngress,
);

impl Ec2Operation {
    /// The operation that a request's parameters name.
    ///
    /// # Errors
    /// `MissingAction`, `NoSuchVersion`, or `InvalidAction` for an operation that is not here.
    pub fn of(form: &[(String, String)]) -> Result<Self, Ec2Error> {
        let value = |name: &str| form.iter().find(|(key, _)| key == name).map(|(_, value)| value.as_str());
        let action = value("Action").filter(|action| !action.is_empty());
        let action =
            action.ok_or_else(|| Ec2Error::new("MissingAction", "The request must contain the parameter Action."))?;
        // What a client sent comes back only where it cannot be abused: short and plain.
        let shown =
            |text: &str| text.chars().filter(|c| c.is_ascii_alphanumeric() || *c == '-').take(64).collect::<String>();
        if let Some(version) = value("Version").filter(|version| *version != VERSION) {
            let text = format!("The requested version ({}) of service EC2 does not exist", shown(version));
            return Err(Ec2Error::new("NoSuchVersion", text));
        }
        Self::ALL.iter().copied().find(|op| op.name() == action).ok_or_else(|| {
            Ec2Error::new("InvalidAction", format!("The action {} is not valid for this web service.", shown(action)))
        })
    }
}

/// What an operation works with.
struct Ctx<'a> {
    core: &'a Core,
    caller: &'a Caller,
    state: Arc<State>,
}

impl Ctx<'_> {
    fn network(&self) -> Result<&Network, Ec2Error> {
        self.state
            .network()
            .map(|network| &**network)
            .ok_or_else(|| Ec2Error::new("InternalError", "There is no network."))
    }

    /// The ARN of something of EC2.
    fn arn(&self, resource: &str) -> String {
        format!("arn:aws:ec2:{}:{}:{resource}", self.caller.region, self.core.account())
    }

    /// The page of a listing that a request asks for: of 1000 items unless it says 5 to 1000.
    fn listing(&self, operation: Ec2Operation, params: &Params<'_>, what: &str) -> Result<Listing<'_>, Ec2Error> {
        let size = params.number("MaxResults")?;
        if let Some(size) = size.filter(|size| !(5..=1000).contains(size)) {
            return Err(Ec2Error::value("maxResults", &size.to_string(), "Expecting a value from 5 to 1000."));
        }
        let what = format!("{} {} {what}", operation.name(), self.caller.region);
        let token = params.text("NextToken");
        Listing::new(self.core.inner().page_key(), what, (size, 1000, 1000), token)
            .map_err(|error| Ec2Error::new("InvalidNextToken", error.message))
    }
}

/// Does an operation; the answer is XML.
pub(crate) async fn call(
    core: &Core,
    caller: &Caller,
    op: Ec2Operation,
    form: Vec<(String, String)>,
    request_id: &str,
) -> Result<String, Ec2Error> {
    let ctx = Ctx { core, caller, state: core.snapshot() };
    let form = params::Form::new(form)?;
    let params = form.params();
    params.ignore(&["Action", "Version"]);
    if params.flag("DryRun")? == Some(true) {
        return Err(Ec2Error::new("DryRunOperation", "Request would have succeeded, but DryRun flag is set."));
    }
    let mut xml = Xml::answer(op.name(), request_id);
    match op {
        Ec2Operation::CreateSecurityGroup => groups::create(&ctx, &params, &mut xml).await,
        Ec2Operation::DeleteSecurityGroup => groups::delete(&ctx, &params, &mut xml).await,
        Ec2Operation::DescribeSecurityGroups => groups::describe(&ctx, &params, &mut xml),
        Ec2Operation::DescribeSecurityGroupRules => rules::describe(&ctx, &params, &mut xml),
        Ec2Operation::AuthorizeSecurityGroupIngress | Ec2Operation::AuthorizeSecurityGroupEgress => {
            rules::authorize(&ctx, op, &params, &mut xml).await
        }
        Ec2Operation::RevokeSecurityGroupIngress | Ec2Operation::RevokeSecurityGroupEgress => {
            rules::revoke(&ctx, op, &params, &mut xml).await
        }
        Ec2Operation::ModifySecurityGroupRules => rules::modify(&ctx, &params, &mut xml).await,
        Ec2Operation::DescribeVpcs => describe::vpcs(&ctx, &params, &mut xml),
        Ec2Operation::DescribeSubnets => describe::subnets(&ctx, &params, &mut xml),
        Ec2Operation::DescribeAvailabilityZones => describe::zones(&ctx, &params, &mut xml),
        Ec2Operation::DescribeNetworkInterfaces => interfaces::describe(&ctx, &params, &mut xml),
        Ec2Operation::CreateTags => tags::create(&ctx, &params, &mut xml).await,
        Ec2Operation::DeleteTags => tags::delete(&ctx, &params, &mut xml).await,
        Ec2Operation::DescribeTags => tags::describe(&ctx, &params, &mut xml),
    }?;
    Ok(xml.finish())
}
