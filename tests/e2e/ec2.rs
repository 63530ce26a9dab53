//! The EC2 operations that task networking needs, through boto3, whose parsers take nothing under another name than the
//! published model's.

use super::support::{api_lab, assert_error, merge};
use longshore_tests::lab::{ApiError, Boto, Lab};
use serde_json::{Value, json};

const REGION: &str = "eu-lab-1";
const ACCOUNT: &str = "111122223333";

fn ec2(lab: &Lab, op: &str, args: Value) -> Value {
    lab.call("ec2", op, args.clone()).unwrap().unwrap_or_else(|error| panic!("{op} {args}: {error}"))
}

fn ec2_error(lab: &Lab, op: &str, args: Value) -> ApiError {
    match lab.call("ec2", op, args.clone()).unwrap() {
        Err(error) => error,
        Ok(answer) => panic!("{op} {args} succeeded: {answer}"),
    }
}

/// Another control plane on the same store, and a client without connections to the one before.
fn restarted(lab: &Lab) -> Boto {
    lab.control().kill().unwrap();
    lab.restart_control().unwrap();
    lab.boto().unwrap()
}

fn create(lab: &Lab, name: &str) -> String {
    let made = ec2(lab, "create_security_group", json!({"GroupName": name, "Description": "of a test"}));
    made["GroupId"].as_str().unwrap().to_owned()
}

fn describe(lab: &Lab, id: &str) -> Value {
    ec2(lab, "describe_security_groups", json!({"GroupIds": [id]}))["SecurityGroups"][0].clone()
}

fn names(answer: &Value) -> Vec<String> {
    let groups = answer["SecurityGroups"].as_array().unwrap();
    let mut names: Vec<_> = groups.iter().map(|group| group["GroupName"].as_str().unwrap().to_owned()).collect();
    names.sort();
    names
}

fn tcp(port: u16, peer: Value) -> Value {
    let mut permission = json!({"IpProtocol": "tcp", "FromPort": port, "ToPort": port});
    merge(&mut permission, peer);
    permission
}

fn anyone() -> Value {
    json!({"IpRanges": [{"CidrIp": "0.0.0.0/0"}]})
}

#[test]
fn there_is_one_network_and_it_is_described_as_in_ec2() {
    let lab = api_lab();
    let vpcs = ec2(&lab, "describe_vpcs", json!({}));
    let vpc = &vpcs["Vpcs"][0];
    let id = vpc["VpcId"].as_str().unwrap();
    assert!(id.starts_with("vpc-") && id.len() == 21, "{vpc}");
    assert_eq!(
        (&vpc["CidrBlock"], &vpc["State"], &vpc["IsDefault"]),
        (&json!("10.77.0.0/16"), &json!("available"), &json!(true))
    );
    assert_eq!(vpc["CidrBlockAssociationSet"][0]["CidrBlock"], "10.77.0.0/16");
    assert_eq!(vpc["OwnerId"], ACCOUNT);
    let subnets = ec2(&lab, "describe_subnets", json!({"Filters": [{"Name": "vpc-id", "Values": [id]}]}));
    let subnet = &subnets["Subnets"][0];
    assert_eq!((&subnet["VpcId"], &subnet["AvailableIpAddressCount"]), (&json!(id), &json!(256 * 253)));
    let zones = ec2(&lab, "describe_availability_zones", json!({}));
    assert_eq!(zones["AvailabilityZones"][0]["ZoneName"], subnet["AvailabilityZone"]);
    assert_eq!(zones["AvailabilityZones"][0]["RegionName"], REGION);
    assert_eq!(ec2(&lab, "describe_network_interfaces", json!({}))["NetworkInterfaces"], json!([]));
    let none = json!({"Filters": [{"Name": "vpc-id", "Values": ["vpc-00000000000000000"]}]});
    assert_eq!(ec2(&lab, "describe_subnets", none)["Subnets"], json!([]));

    let groups = ec2(&lab, "describe_security_groups", json!({}));
    let default = &groups["SecurityGroups"][0];
    assert_eq!(names(&groups), ["default"]);
    assert_eq!(default["VpcId"], id);
    assert_eq!(default["IpPermissions"][0]["UserIdGroupPairs"][0]["GroupId"], default["GroupId"]);
    assert_eq!(default["IpPermissions"][0]["IpProtocol"], "-1");
    assert_eq!(default["IpPermissionsEgress"][0]["IpRanges"], json!([{"CidrIp": "0.0.0.0/0"}]));
    // The same after a restart; and it is one network for all regions, while groups are their region's.
    create(&lab, "here");
    let mut boto = restarted(&lab);
    let again = boto.call("ec2", "describe_vpcs", json!({})).unwrap().unwrap();
    assert_eq!(again["Vpcs"][0]["VpcId"], id);
    let ask =
        json!({"kind": "call", "service": "ec2", "region": "us-lab-2", "op": "describe_security_groups", "args": {}});
    assert_eq!(names(&boto.ask(&ask).unwrap().unwrap()), ["default"]);
    let here = boto.call("ec2", "describe_security_groups", json!({})).unwrap().unwrap();
    assert_eq!(names(&here), ["default", "here"]);

    // The command of AWS reads the same answers.
    let out = lab.aws(&["ec2", "describe-subnets", "--query", "Subnets[].SubnetId", "--output", "text"]).unwrap();
    assert_eq!(String::from_utf8_lossy(&out.stdout).trim(), subnet["SubnetId"].as_str().unwrap());
    let out = lab.aws(&["ec2", "describe-vpcs", "--vpc-ids", "vpc-1"]).unwrap();
    assert!(String::from_utf8_lossy(&out.stderr).contains("InvalidVpcId.Malformed"), "{out:?}");
}

#[test]
fn groups_live_as_in_ec2() {
    let lab = api_lab();
    let tags = json!([{"ResourceType": "security-group", "Tags": [{"Key": "team", "Value": "a <&> b"}]}]);
    let made = ec2(
        &lab,
        "create_security_group",
        json!({"GroupName": "web", "Description": "the front", "TagSpecifications": tags}),
    );
    let id = made["GroupId"].as_str().unwrap();
    assert_eq!(made["Tags"], json!([{"Key": "team", "Value": "a <&> b"}]));
    assert_eq!(made["SecurityGroupArn"], format!("arn:aws:ec2:{REGION}:{ACCOUNT}:security-group/{id}"));
    let group = describe(&lab, id);
    assert_eq!((&group["GroupName"], &group["Description"]), (&json!("web"), &json!("the front")));
    assert_eq!((&group["OwnerId"], &group["IpPermissions"]), (&json!(ACCOUNT), &json!([])));
    let everything = json!([{"IpProtocol": "-1", "IpRanges": [{"CidrIp": "0.0.0.0/0"}], "Ipv6Ranges": [],
                             "UserIdGroupPairs": [], "PrefixListIds": []}]);
    assert_eq!(group["IpPermissionsEgress"], everything);
    let db = create(&lab, "db");
    for n in 0..5 {
        create(&lab, &format!("more-{n}"));
    }
    let by = |filters: Value| names(&ec2(&lab, "describe_security_groups", json!({"Filters": filters})));
    assert_eq!(by(json!([{"Name": "group-name", "Values": ["web", "d?"]}])), ["db", "web"]);
    assert_eq!(by(json!([{"Name": "tag:team", "Values": ["a*"]}])), ["web"]);
    assert_eq!(by(json!([{"Name": "tag-key", "Values": ["team"]}, {"Name": "group-name", "Values": ["db"]}])), [""; 0]);
    assert_eq!(by(json!([{"Name": "description", "Values": ["the front"]}])), ["web"]);
    assert_eq!(by(json!([{"Name": "vpc-id", "Values": [group["VpcId"]]}])).len(), 8);
    assert_eq!(names(&ec2(&lab, "describe_security_groups", json!({"GroupNames": ["db"]}))), ["db"]);
    let ask = json!({"kind": "paginate", "service": "ec2", "op": "describe_security_groups", "args": {}, "page": 5});
    let pages = lab.ask(&ask).unwrap().unwrap();
    let counts: Vec<usize> = pages.as_array().unwrap().iter().map(|page| names(page).len()).collect();
    assert_eq!(counts, [5, 3]);

    // Tags.
    ec2(&lab, "create_tags", json!({"Resources": [id, db], "Tags": [{"Key": "stage", "Value": "prod"}]}));
    ec2(&lab, "delete_tags", json!({"Resources": [id], "Tags": [{"Key": "team"}, {"Key": "stage", "Value": "other"}]}));
    assert_eq!(describe(&lab, id)["Tags"], json!([{"Key": "stage", "Value": "prod"}]));
    let found = ec2(&lab, "describe_tags", json!({"Filters": [{"Name": "resource-id", "Values": [db]}]}));
    let tag = json!({"Key": "stage", "Value": "prod", "ResourceId": db, "ResourceType": "security-group"});
    assert_eq!(found["Tags"], json!([tag]));
    ec2(&lab, "delete_tags", json!({"Resources": [id]}));
    assert_eq!(describe(&lab, id).get("Tags").cloned().unwrap_or(json!([])), json!([]));

    // A group that another's rule refers to stays.
    let from_web = tcp(5432, json!({"UserIdGroupPairs": [{"GroupId": id}]}));
    ec2(&lab, "authorize_security_group_ingress", json!({"GroupId": db, "IpPermissions": [from_web]}));
    let refused = ec2_error(&lab, "delete_security_group", json!({"GroupId": id}));
    assert_error(&refused, "DependencyViolation", &format!("resource {id} has a dependent object"));
    ec2(&lab, "delete_security_group", json!({"GroupName": "db"}));
    let gone = ec2(&lab, "delete_security_group", json!({"GroupId": id}));
    assert_eq!((&gone["Return"], &gone["GroupId"]), (&json!(true), &json!(id)));
    assert_error(&ec2_error(&lab, "describe_security_groups", json!({"GroupIds": [id]})), "InvalidGroup.NotFound", id);
}

#[test]
fn rules_live_as_in_ec2() {
    let lab = api_lab();
    let (web, db) = (create(&lab, "web"), create(&lab, "db"));
    let permissions = json!([
        {"IpProtocol": "tcp", "FromPort": 80, "ToPort": 443,
         "IpRanges": [{"CidrIp": "10.1.2.3/8", "Description": "ours"}], "Ipv6Ranges": [{"CidrIpv6": "fd77::/48"}]},
        {"IpProtocol": "17", "FromPort": 53, "ToPort": 53,
         "UserIdGroupPairs": [{"GroupName": "db", "UserId": ACCOUNT}]},
        {"IpProtocol": "icmp", "FromPort": 8, "ToPort": -1, "IpRanges": [{"CidrIp": "0.0.0.0/0"}]},
        {"IpProtocol": "icmpv6", "FromPort": -1, "ToPort": -1, "Ipv6Ranges": [{"CidrIpv6": "::/0"}]},
        {"IpProtocol": "50", "IpRanges": [{"CidrIp": "192.0.2.0/24"}]},
    ]);
    let tags = json!([{"ResourceType": "security-group-rule", "Tags": [{"Key": "k", "Value": "v"}]}]);
    let args = json!({"GroupId": web, "IpPermissions": permissions, "TagSpecifications": tags});
    let made = ec2(&lab, "authorize_security_group_ingress", args);
    assert_eq!(made["Return"], true);
    let rules = made["SecurityGroupRules"].as_array().unwrap();
    let short = |rule: &Value| {
        let mut short = rule.clone();
        for name in ["SecurityGroupRuleId", "SecurityGroupRuleArn", "GroupId", "GroupOwnerId", "IsEgress", "Tags"] {
            short.as_object_mut().unwrap().remove(name).unwrap_or_else(|| panic!("{name}: {rule}"));
        }
        short
    };
    let expected = [
        json!({"IpProtocol": "tcp", "FromPort": 80, "ToPort": 443, "CidrIpv4": "10.0.0.0/8", "Description": "ours"}),
        json!({"IpProtocol": "tcp", "FromPort": 80, "ToPort": 443, "CidrIpv6": "fd77::/48"}),
        json!({"IpProtocol": "udp", "FromPort": 53, "ToPort": 53,
               "ReferencedGroupInfo": {"GroupId": db, "UserId": ACCOUNT}}),
        json!({"IpProtocol": "icmp", "FromPort": 8, "ToPort": -1, "CidrIpv4": "0.0.0.0/0"}),
        json!({"IpProtocol": "icmpv6", "FromPort": -1, "ToPort": -1, "CidrIpv6": "::/0"}),
        json!({"IpProtocol": "50", "FromPort": -1, "ToPort": -1, "CidrIpv4": "192.0.2.0/24"}),
    ];
    assert_eq!(rules.iter().map(short).collect::<Vec<_>>(), expected);
    assert_eq!((&rules[0]["IsEgress"], &rules[0]["Tags"]), (&json!(false), &json!([{"Key": "k", "Value": "v"}])));
    let id = |n: usize| rules[n]["SecurityGroupRuleId"].as_str().unwrap();
    assert_eq!(
        rules[0]["SecurityGroupRuleArn"],
        format!("arn:aws:ec2:{REGION}:{ACCOUNT}:security-group-rule/{}", id(0))
    );

    // What a group shows can be given back: that is how clients take rules away.
    let shown = describe(&lab, &web)["IpPermissions"].clone();
    assert_eq!(shown.as_array().unwrap().len(), 5, "rules of one traffic stand together: {shown}");
    let listed = |filters: Value| {
        let answer = ec2(&lab, "describe_security_group_rules", json!({"Filters": filters}));
        answer["SecurityGroupRules"].as_array().unwrap().len()
    };
    assert_eq!(listed(json!([{"Name": "group-id", "Values": [web]}])), 7, "with the one out of it");
    assert_eq!(listed(json!([{"Name": "tag:k", "Values": ["v"]}])), 6);

    // A rule changes and keeps its id.
    let change = json!({"IpProtocol": "tcp", "FromPort": 8080, "ToPort": 8080, "ReferencedGroupId": db});
    let update = json!([{"SecurityGroupRuleId": id(0), "SecurityGroupRule": change}]);
    ec2(&lab, "modify_security_group_rules", json!({"GroupId": web, "SecurityGroupRules": update}));
    let one = ec2(&lab, "describe_security_group_rules", json!({"SecurityGroupRuleIds": [id(0)]}));
    let one = &one["SecurityGroupRules"][0];
    assert_eq!((&one["FromPort"], &one["ReferencedGroupInfo"]["GroupId"]), (&json!(8080), &json!(db)));
    assert_eq!(one["Description"], "ours");

    let revoked = ec2(&lab, "revoke_security_group_ingress", json!({"GroupId": web, "SecurityGroupRuleIds": [id(0)]}));
    let gone = &revoked["RevokedSecurityGroupRules"][0];
    assert_eq!((&gone["SecurityGroupRuleId"], &gone["ReferencedGroupId"]), (&json!(id(0)), &json!(db)));
    let shown = describe(&lab, &web)["IpPermissions"].clone();
    ec2(&lab, "revoke_security_group_ingress", json!({"GroupId": web, "IpPermissions": shown}));
    assert_eq!(describe(&lab, &web)["IpPermissions"], json!([]));

    // Out of the group, and the single rule of old.
    let out = json!([{"IpProtocol": "-1", "IpRanges": [{"CidrIp": "0.0.0.0/0"}]}]);
    ec2(&lab, "revoke_security_group_egress", json!({"GroupId": web, "IpPermissions": out}));
    ec2(&lab, "authorize_security_group_egress", json!({"GroupId": web, "IpPermissions": [tcp(25, anyone())]}));
    let egress = &describe(&lab, &web)["IpPermissionsEgress"];
    assert_eq!((&egress[0]["FromPort"], egress.as_array().unwrap().len()), (&json!(25), 1));
    let single = json!({"GroupId": web, "IpProtocol": "tcp", "FromPort": 22, "ToPort": 22, "CidrIp": "192.0.2.0/24"});
    ec2(&lab, "authorize_security_group_ingress", single.clone());
    ec2(&lab, "authorize_security_group_ingress", json!({"GroupName": "web", "SourceSecurityGroupName": "db"}));
    assert_eq!(describe(&lab, &web)["IpPermissions"].as_array().unwrap().len(), 2);
    ec2(&lab, "revoke_security_group_ingress", single);
    let left = restarted(&lab).call("ec2", "describe_security_groups", json!({"GroupIds": [web]})).unwrap().unwrap();
    let left = &left["SecurityGroups"][0]["IpPermissions"];
    assert_eq!(left[0]["UserIdGroupPairs"], json!([{"UserId": ACCOUNT, "GroupId": db}]));
}

#[test]
fn bad_requests_get_the_errors_of_ec2_and_change_nothing() {
    let lab = api_lab();
    let web = create(&lab, "web");
    ec2(&lab, "authorize_security_group_ingress", json!({"GroupId": web, "IpPermissions": [tcp(80, anyone())]}));
    let before = ec2(&lab, "describe_security_groups", json!({}));
    let default = before["SecurityGroups"].as_array().unwrap().iter().find(|group| group["GroupName"] == "default");
    let default = &default.unwrap()["GroupId"];
    let none = "sg-00000000000000000";
    let allow = |permission: Value| json!({"GroupId": web, "IpPermissions": [permission]});
    let named = |name: &str| json!({"GroupName": name, "Description": "x"});
    let cases = [
        ("create_security_group", named("web"), "InvalidGroup.Duplicate", "already exists for VPC 'vpc-"),
        ("create_security_group", named("default"), "InvalidGroup.Reserved", ""),
        ("create_security_group", named("sg-web"), "InvalidParameterValue", "GroupName"),
        ("create_security_group", named("wéb"), "InvalidParameterValue", "GroupName"),
        ("create_security_group", named(&"x".repeat(256)), "InvalidParameterValue", "GroupName"),
        ("create_security_group", json!({"GroupName": "a", "Description": ""}), "MissingParameter", "GroupDescription"),
        (
            "create_security_group",
            json!({"GroupName": "a", "Description": "x", "VpcId": "vpc-00000000000000000"}),
            "InvalidVpcID.NotFound",
            "The vpc ID 'vpc-00000000000000000' does not exist",
        ),
        (
            "create_security_group",
            json!({"GroupName": "a", "Description": "x",
                "TagSpecifications": [{"ResourceType": "instance", "Tags": []}]}),
            "InvalidParameterValue",
            "taggable resource type",
        ),
        (
            "create_security_group",
            json!({"GroupName": "a", "Description": "x", "TagSpecifications": [
                {"ResourceType": "security-group", "Tags": [{"Key": "aws:x", "Value": ""}]}]}),
            "InvalidParameterValue",
            "aws:",
        ),
        ("create_security_group", json!({"GroupName": "a", "Description": "x", "DryRun": true}), "DryRunOperation", ""),
        ("delete_security_group", json!({"GroupId": default}), "CannotDelete", "cannot be deleted by a user"),
        ("delete_security_group", json!({"GroupId": none}), "InvalidGroup.NotFound", "does not exist"),
        ("delete_security_group", json!({"GroupId": "sg-12345678"}), "InvalidGroup.NotFound", "does not exist"),
        ("delete_security_group", json!({"GroupId": "web"}), "InvalidGroupId.Malformed", "Invalid id: \"web\""),
        ("delete_security_group", json!({}), "MissingParameter", "GroupId"),
        ("describe_security_groups", json!({"GroupNames": ["nobody"]}), "InvalidGroup.NotFound", "'nobody'"),
        (
            "describe_security_groups",
            json!({"Filters": [{"Name": "colour", "Values": ["red"]}]}),
            "InvalidParameterValue",
            "The filter 'colour' is invalid",
        ),
        ("describe_security_groups", json!({"MaxResults": 1001}), "InvalidParameterValue", "maxResults"),
        ("describe_security_groups", json!({"NextToken": "x"}), "InvalidNextToken", ""),
        ("authorize_security_group_ingress", json!({"GroupId": web}), "MissingParameter", "IpPermissions"),
        ("authorize_security_group_ingress", allow(tcp(80, anyone())), "InvalidPermission.Duplicate", "from port: 80"),
        ("authorize_security_group_ingress", allow(tcp(81, json!({}))), "MissingParameter", "IpRanges"),
        (
            "authorize_security_group_ingress",
            allow(tcp(81, json!({"IpRanges": [{"CidrIp": "10.0.0.1"}]}))),
            "InvalidParameterValue",
            "CIDR block 10.0.0.1 is malformed",
        ),
        (
            "authorize_security_group_ingress",
            allow(tcp(81, json!({"Ipv6Ranges": [{"CidrIpv6": "10.0.0.0/8"}]}))),
            "InvalidParameterValue",
            "malformed",
        ),
        (
            "authorize_security_group_ingress",
            allow(tcp(81, json!({"UserIdGroupPairs": [{"GroupId": none}]}))),
            "InvalidGroup.NotFound",
            none,
        ),
        (
            "authorize_security_group_ingress",
            allow(tcp(81, json!({"PrefixListIds": [{"PrefixListId": "pl-1"}]}))),
            "UnsupportedOperation",
            "PrefixListIds",
        ),
        (
            "authorize_security_group_ingress",
            allow(tcp(81, json!({"IpRanges": [{"CidrIp": "0.0.0.0/0", "Description": "<b>"}]}))),
            "InvalidParameterValue",
            "Description",
        ),
        (
            "authorize_security_group_ingress",
            allow(json!({"IpProtocol": "tcp", "IpRanges": [{"CidrIp": "0.0.0.0/0"}]})),
            "InvalidParameterValue",
            "Must specify both from and to ports with TCP/UDP.",
        ),
        (
            "authorize_security_group_ingress",
            allow(json!({"IpProtocol": "tcp", "FromPort": 2, "ToPort": 1, "IpRanges": [{"CidrIp": "0.0.0.0/0"}]})),
            "InvalidParameterValue",
            "portRange",
        ),
        (
            "authorize_security_group_ingress",
            allow(json!({"IpProtocol": "udp", "FromPort": 1, "ToPort": 65536, "IpRanges": [{"CidrIp": "0.0.0.0/0"}]})),
            "InvalidParameterValue",
            "65536",
        ),
        (
            "authorize_security_group_ingress",
            allow(json!({"IpProtocol": "icmp", "FromPort": 256, "ToPort": -1, "IpRanges": [{"CidrIp": "0.0.0.0/0"}]})),
            "InvalidParameterValue",
            "ICMP type (256) out of range",
        ),
        (
            "authorize_security_group_ingress",
            allow(json!({"IpProtocol": "ipx", "IpRanges": [{"CidrIp": "0.0.0.0/0"}]})),
            "InvalidParameterValue",
            "Unknown protocol",
        ),
        (
            "authorize_security_group_ingress",
            json!({"GroupId": web, "IpPermissions": [tcp(81, anyone()), tcp(81, anyone())]}),
            "InvalidParameterValue",
            "must not appear multiple times",
        ),
        (
            "authorize_security_group_ingress",
            json!({"GroupId": web, "CidrIp": "0.0.0.0/0", "IpPermissions": [tcp(81, anyone())]}),
            "InvalidParameterCombination",
            "",
        ),
        // The first of the two could be added; neither is.
        (
            "authorize_security_group_ingress",
            json!({"GroupId": web, "IpPermissions": [tcp(81, anyone()), tcp(80, anyone())]}),
            "InvalidPermission.Duplicate",
            "",
        ),
        (
            "authorize_security_group_egress",
            allow(json!({"IpProtocol": "tcp", "FromPort": 1, "ToPort": 1, "IpRanges":
                (0..61).map(|n| json!({"CidrIp": format!("10.0.{n}.0/24")})).collect::<Vec<_>>()})),
            "RulesPerSecurityGroupLimitExceeded",
            "",
        ),
        ("revoke_security_group_ingress", allow(tcp(81, anyone())), "InvalidPermission.NotFound", ""),
        // The first of the two could be taken away; neither is.
        (
            "revoke_security_group_ingress",
            json!({"GroupId": web, "IpPermissions": [tcp(80, anyone()), tcp(81, anyone())]}),
            "InvalidPermission.NotFound",
            "",
        ),
        ("revoke_security_group_egress", allow(tcp(80, anyone())), "InvalidPermission.NotFound", ""),
        (
            "revoke_security_group_ingress",
            json!({"GroupId": none, "IpPermissions": [tcp(80, anyone())]}),
            "InvalidGroup.NotFound",
            none,
        ),
        (
            "authorize_security_group_egress",
            json!({"GroupId": "sg-xyz", "IpPermissions": [tcp(80, anyone())]}),
            "InvalidGroupId.Malformed",
            "expecting \"sg-...\"",
        ),
        (
            "authorize_security_group_ingress",
            allow(tcp(81, json!({"UserIdGroupPairs": [{"GroupId": web, "VpcId": "vpc-00000000000000000"}]}))),
            "InvalidVpcID.NotFound",
            "",
        ),
        (
            "authorize_security_group_ingress",
            allow(tcp(81, json!({"UserIdGroupPairs": [{"GroupId": web, "UserId": "999988887777"}]}))),
            "InvalidGroup.NotFound",
            "999988887777",
        ),
        (
            "revoke_security_group_ingress",
            json!({"GroupId": web, "SecurityGroupRuleIds": ["sgr-00000000000000000"]}),
            "InvalidSecurityGroupRuleId.NotFound",
            "",
        ),
        (
            "revoke_security_group_ingress",
            json!({"GroupId": web, "SecurityGroupRuleIds": ["x"]}),
            "InvalidSecurityGroupRuleId.Malformed",
            "",
        ),
        (
            "modify_security_group_rules",
            json!({"GroupId": web, "SecurityGroupRules": [
                {"SecurityGroupRuleId": "sgr-00000000000000000",
                 "SecurityGroupRule": {"IpProtocol": "-1", "CidrIpv4": "0.0.0.0/0"}}]}),
            "InvalidSecurityGroupRuleId.NotFound",
            "",
        ),
        (
            "modify_security_group_rules",
            json!({"GroupId": web, "SecurityGroupRules": [
                {"SecurityGroupRuleId": "sgr-00000000000000000", "SecurityGroupRule": {"IpProtocol": "-1"}}]}),
            "InvalidParameterCombination",
            "one of",
        ),
        ("describe_vpcs", json!({"VpcIds": ["vpc-00000000000000000"]}), "InvalidVpcID.NotFound", ""),
        ("describe_subnets", json!({"SubnetIds": ["subnet-00000000000000000"]}), "InvalidSubnetID.NotFound", ""),
        ("describe_subnets", json!({"SubnetIds": ["x"]}), "InvalidSubnetId.Malformed", ""),
        (
            "describe_network_interfaces",
            json!({"NetworkInterfaceIds": ["eni-00000000000000000"]}),
            "InvalidNetworkInterfaceID.NotFound",
            "",
        ),
        ("describe_availability_zones", json!({"ZoneNames": ["moon"]}), "InvalidParameterValue", "moon"),
        ("create_tags", json!({"Resources": [web], "Tags": []}), "MissingParameter", "Tag"),
        ("create_tags", json!({"Resources": ["i-1"], "Tags": [{"Key": "a", "Value": "b"}]}), "InvalidID", "i-1"),
        (
            "create_tags",
            json!({"Resources": [web, none], "Tags": [{"Key": "a", "Value": "b"}]}),
            "InvalidGroup.NotFound",
            "",
        ),
        ("run_instances", json!({"MinCount": 1, "MaxCount": 1}), "InvalidAction", "RunInstances"),
    ];
    for (op, args, code, part) in cases {
        let error = ec2_error(&lab, op, args.clone());
        assert_eq!(error.code, code, "{op} {args}: {error}");
        assert!(error.message.contains(part), "{op} {args}: expected {part:?}: {error}");
        assert!((400..500).contains(&error.status), "{op} {args}: {error}");
    }
    assert_eq!(ec2(&lab, "describe_security_groups", json!({})), before, "something was changed");

    // Signatures and what is no request at all.
    let raw = |request: Value| {
        let mut full = json!({"kind": "raw", "service": "ec2", "content_type": "application/x-www-form-urlencoded"});
        merge(&mut full, request);
        lab.ask(&full).unwrap().unwrap()
    };
    let body = "Action=DescribeVpcs&Version=2016-11-15";
    for (request, status, code) in [
        (json!({"body": body, "secret": "wrong-wrong-wrong"}), 403, "SignatureDoesNotMatch"),
        (json!({"body": body, "key": "AKIAUNKNOWNUNKNOWN00"}), 401, "AuthFailure"),
        (json!({"body": "Action=DescribeVpcs&Version=2010-01-01"}), 400, "NoSuchVersion"),
        (json!({"body": "Version=2016-11-15"}), 400, "MissingAction"),
        (json!({"body": "Action=DescribeVpcs&VpcId.1=a&VpcId.1=b"}), 400, "MalformedQueryString"),
        (json!({"body": "Action=DescribeVpcs&Colour=red"}), 400, "UnknownParameter"),
        (json!({"body": "Action=%3Cx%3E"}), 400, "InvalidAction"),
    ] {
        let answer = raw(request);
        let text = answer["body"].as_str().unwrap();
        assert_eq!(answer["status"], status, "{answer}");
        assert!(
            text.starts_with("<Response><Errors><Error>") && text.contains(&format!("<Code>{code}</Code>")),
            "{text}"
        );
        assert_eq!(answer["headers"]["content-type"], "text/xml");
    }
}

#[test]
fn tasks_with_interfaces_are_registered_and_refused_by_what_is_missing() {
    let lab = api_lab();
    let container = json!({"name": "main", "image": "busybox", "memory": 16, "portMappings": [{"containerPort": 80}]});
    let args = json!({"family": "web", "networkMode": "awsvpc", "containerDefinitions": [container]});
    let made = lab.ecs("register_task_definition", args.clone()).unwrap();
    let definition = &made["taskDefinition"];
    assert_eq!(definition["containerDefinitions"][0]["portMappings"][0]["hostPort"], 80);
    let attributes = definition["requiresAttributes"].as_array().unwrap();
    assert!(attributes.contains(&json!({"name": "ecs.capability.task-eni"})), "{attributes:?}");
    for (patch, part) in [
        (
            json!({"portMappings": [{"containerPort": 80, "hostPort": 8080}]}),
            "When networkMode=awsvpc, the host ports and container ports in port mappings must match.",
        ),
        (json!({"hostname": "h"}), "hostname"),
        (json!({"links": ["b"]}), "links"),
        (json!({"extraHosts": [{"hostname": "a", "ipAddress": "10.0.0.1"}]}), "extraHosts"),
        (json!({"dnsServers": ["10.0.0.1"]}), "dnsServers"),
    ] {
        let mut bad = args.clone();
        merge(&mut bad["containerDefinitions"][0], patch);
        assert_error(&lab.ecs_error("register_task_definition", bad).unwrap(), "ClientException", part);
    }
    let mut tagged = args;
    tagged["tags"] = json!([{"key": "longshore:bandwidth-in", "value": "plenty"}]);
    assert_error(
        &lab.ecs_error("register_task_definition", tagged).unwrap(),
        "ClientException",
        "longshore:bandwidth-in",
    );
}

#[test]
fn interfaces_that_cannot_be_are_refused_as_in_ecs() {
    let lab = api_lab();
    let container = json!({"name": "main", "image": "busybox", "memory": 16});
    for (family, mode) in [("web", "awsvpc"), ("plain", "bridge")] {
        let args = json!({"family": family, "networkMode": mode, "containerDefinitions": [container]});
        lab.ecs("register_task_definition", args).unwrap();
    }
    lab.ecs("create_cluster", json!({})).unwrap();
    let subnet = ec2(&lab, "describe_subnets", json!({}))["Subnets"][0]["SubnetId"].clone();
    let groups: Vec<String> = (0..6).map(|n| create(&lab, &format!("g{n}"))).collect();
    let elsewhere = json!({"kind": "call", "service": "ec2", "region": "us-lab-2", "op": "create_security_group",
                           "args": {"GroupName": "there", "Description": "of another region"}});
    let elsewhere = lab.ask(&elsewhere).unwrap().unwrap()["GroupId"].as_str().unwrap().to_owned();
    let with =
        |subnets: Value, groups: Value| json!({"awsvpcConfiguration": {"subnets": subnets, "securityGroups": groups}});
    let cases = [
        ("web", json!(null), "Network Configuration must be provided when networkMode 'awsvpc' is specified."),
        (
            "plain",
            with(json!([subnet]), json!([])),
            "Network Configuration is not valid for the given networkMode of this task definition.",
        ),
        ("web", with(json!([]), json!([])), "subnets can not be empty."),
        ("web", with(json!(["subnet-0"]), json!([])), "Invalid id: \"subnet-0\" (expecting \"subnet-...\")"),
        (
            "web",
            with(json!([subnet, "subnet-00000000000000000"]), json!([])),
            "The subnet ID 'subnet-00000000000000000' does not exist (ErrorCode: InvalidSubnetID.NotFound)",
        ),
        ("web", with(json!([subnet, subnet]), json!([])), "stands twice"),
        (
            "web",
            with(json!([subnet]), json!(["sg-00000000000000000"])),
            "The security group 'sg-00000000000000000' does not exist (ErrorCode: InvalidGroup.NotFound)",
        ),
        (
            "web",
            with(json!([subnet]), json!([groups[0], elsewhere])),
            "does not exist (ErrorCode: InvalidGroup.NotFound)",
        ),
        ("web", with(json!([subnet]), json!(["g0"])), "Invalid id: \"g0\" (expecting \"sg-...\")"),
        ("web", with(json!([subnet]), json!(groups)), "securityGroups can have at most 5 items."),
        ("web", with(json!([subnet]), json!([groups[0], groups[0]])), "stands twice"),
    ];
    for (family, network, part) in cases {
        for op in ["run_task", "start_task"] {
            let mut args = json!({"taskDefinition": family});
            if !network.is_null() {
                args["networkConfiguration"] = network.clone();
            }
            if op == "start_task" {
                args["containerInstances"] = json!(["0123456789abcdef0123456789abcdef"]);
            }
            let error = lab.ecs_error(op, args).unwrap();
            assert_error(&error, "InvalidParameterException", part);
        }
    }
    assert_eq!(lab.ecs("list_tasks", json!({})).unwrap()["taskArns"], json!([]));
    // Everything is there but a host.
    let args = json!({"taskDefinition": "web", "networkConfiguration": with(json!([subnet]), json!(groups[..5]))});
    let error = lab.ecs_error("run_task", args).unwrap();
    assert_error(&error, "InvalidParameterException", "No Container Instances were found in your cluster.");
}
