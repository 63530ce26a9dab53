// Generated from botocore 1.44.5, service model ecs 2014-11-13, by our generator. Do not edit; see NOTICE.

use crate::wire::wire_enum;

wire_enum!(AcceleratorManufacturer {
AmazonWebServices = "amazon-web-services",
Amd = "amd",
Nvidia = "nvidia",
Xilinx = "xilinx",
Habana = "habana",
});

wire_enum!(AcceleratorName {
A100 = "a100",
Inferentia = "inferentia",
K520 = "k520",
K80 = "k80",
M60 = "m60",
RadeonProV520 = "radeon-pro-v520",
T4 = "t4",
Vu9p = "vu9p",
V100 = "v100",
A10g = "a10g",
H100 = "h100",
T4g = "t4g",
L40s = "l40s",
L4 = "l4",
});

wire_enum!(AcceleratorType {
Gpu = "gpu",
Fpga = "fpga",
Inference = "inference",
});

wire_enum!(AccessType {
Public = "PUBLIC",
Private = "PRIVATE",
});

wire_enum!(AgentUpdateStatus {
Pending = "PENDING",
Staging = "STAGING",
Staged = "STAGED",
Updating = "UPDATING",
Updated = "UPDATED",
Failed = "FAILED",
});

wire_enum!(ApplicationProtocol {
Http = "http",
Http2 = "http2",
Grpc = "grpc",
});

wire_enum!(AssignPublicIp {
Enabled = "ENABLED",
Disabled = "DISABLED",
});

wire_enum!(AttestationPolicyStatus {
Configured = "CONFIGURED",
});

wire_enum!(AutoRepairActionsStatus {
Enabled = "ENABLED",
Disabled = "DISABLED",
});

wire_enum!(AvailabilityZoneRebalancing {
Enabled = "ENABLED",
Disabled = "DISABLED",
});

wire_enum!(BareMetal {
Included = "included",
Required = "required",
Excluded = "excluded",
});

wire_enum!(BurstablePerformance {
Included = "included",
Required = "required",
Excluded = "excluded",
});

wire_enum!(CPUArchitecture {
X8664 = "X86_64",
Arm64 = "ARM64",
});

wire_enum!(CapacityOptionType {
OnDemand = "ON_DEMAND",
Spot = "SPOT",
Reserved = "RESERVED",
});

wire_enum!(CapacityProviderField {
Tags = "TAGS",
});

wire_enum!(CapacityProviderStatus {
Provisioning = "PROVISIONING",
Active = "ACTIVE",
Deprovisioning = "DEPROVISIONING",
Inactive = "INACTIVE",
});

wire_enum!(CapacityProviderType {
Ec2Autoscaling = "EC2_AUTOSCALING",
ManagedInstances = "MANAGED_INSTANCES",
Fargate = "FARGATE",
FargateSpot = "FARGATE_SPOT",
});

wire_enum!(CapacityProviderUpdateStatus {
CreateInProgress = "CREATE_IN_PROGRESS",
CreateComplete = "CREATE_COMPLETE",
CreateFailed = "CREATE_FAILED",
DeleteInProgress = "DELETE_IN_PROGRESS",
DeleteComplete = "DELETE_COMPLETE",
DeleteFailed = "DELETE_FAILED",
UpdateInProgress = "UPDATE_IN_PROGRESS",
UpdateComplete = "UPDATE_COMPLETE",
UpdateFailed = "UPDATE_FAILED",
});

wire_enum!(CapacityReservationPreference {
ReservationsOnly = "RESERVATIONS_ONLY",
ReservationsFirst = "RESERVATIONS_FIRST",
ReservationsExcluded = "RESERVATIONS_EXCLUDED",
});

wire_enum!(ClusterField {
Attachments = "ATTACHMENTS",
Configurations = "CONFIGURATIONS",
Settings = "SETTINGS",
Statistics = "STATISTICS",
Tags = "TAGS",
});

wire_enum!(ClusterSettingName {
ContainerInsights = "containerInsights",
});

wire_enum!(Compatibility {
Ec2 = "EC2",
Fargate = "FARGATE",
External = "EXTERNAL",
ManagedInstances = "MANAGED_INSTANCES",
});

wire_enum!(Connectivity {
Connected = "CONNECTED",
Disconnected = "DISCONNECTED",
});

wire_enum!(ContainerCondition {
Start = "START",
Complete = "COMPLETE",
Success = "SUCCESS",
Healthy = "HEALTHY",
});

wire_enum!(ContainerInstanceField {
Tags = "TAGS",
ContainerInstanceHealth = "CONTAINER_INSTANCE_HEALTH",
});

wire_enum!(ContainerInstanceStatus {
Active = "ACTIVE",
Draining = "DRAINING",
Registering = "REGISTERING",
Deregistering = "DEREGISTERING",
RegistrationFailed = "REGISTRATION_FAILED",
});

wire_enum!(CpuManufacturer {
Intel = "intel",
Amd = "amd",
AmazonWebServices = "amazon-web-services",
});

wire_enum!(DaemonDeploymentRollbackMonitorsStatus {
Triggered = "TRIGGERED",
Monitoring = "MONITORING",
MonitoringComplete = "MONITORING_COMPLETE",
Disabled = "DISABLED",
});

wire_enum!(DaemonDeploymentStatus {
Pending = "PENDING",
Successful = "SUCCESSFUL",
Stopped = "STOPPED",
StopRequested = "STOP_REQUESTED",
InProgress = "IN_PROGRESS",
RollbackInProgress = "ROLLBACK_IN_PROGRESS",
RollbackSuccessful = "ROLLBACK_SUCCESSFUL",
RollbackFailed = "ROLLBACK_FAILED",
});

wire_enum!(DaemonIpcMode {
None = "none",
Shared = "shared",
});

wire_enum!(DaemonPidMode {
None = "none",
Shared = "shared",
});

wire_enum!(DaemonPropagateTags {
Daemon = "DAEMON",
None = "NONE",
});

wire_enum!(DaemonStatus {
Active = "ACTIVE",
DeleteInProgress = "DELETE_IN_PROGRESS",
});

wire_enum!(DaemonTaskDefinitionRevisionFilter {
LastRegistered = "LAST_REGISTERED",
});

wire_enum!(DaemonTaskDefinitionStatus {
Active = "ACTIVE",
DeleteInProgress = "DELETE_IN_PROGRESS",
Deleted = "DELETED",
});

wire_enum!(DaemonTaskDefinitionStatusFilter {
Active = "ACTIVE",
DeleteInProgress = "DELETE_IN_PROGRESS",
All = "ALL",
});

wire_enum!(DeploymentControllerType {
Ecs = "ECS",
CodeDeploy = "CODE_DEPLOY",
External = "EXTERNAL",
});

wire_enum!(DeploymentLifecycleHookAction {
Rollback = "ROLLBACK",
Continue = "CONTINUE",
});

wire_enum!(DeploymentLifecycleHookStage {
ReconcileService = "RECONCILE_SERVICE",
PreScaleUp = "PRE_SCALE_UP",
PostScaleUp = "POST_SCALE_UP",
TestTrafficShift = "TEST_TRAFFIC_SHIFT",
PostTestTrafficShift = "POST_TEST_TRAFFIC_SHIFT",
PreProductionTrafficShift = "PRE_PRODUCTION_TRAFFIC_SHIFT",
ProductionTrafficShift = "PRODUCTION_TRAFFIC_SHIFT",
PostProductionTrafficShift = "POST_PRODUCTION_TRAFFIC_SHIFT",
});

wire_enum!(DeploymentLifecycleHookStatus {
AwaitingAction = "AWAITING_ACTION",
InProgress = "IN_PROGRESS",
Succeeded = "SUCCEEDED",
Failed = "FAILED",
TimedOut = "TIMED_OUT",
});

wire_enum!(DeploymentLifecycleHookTargetType {
AwsLambda = "AWS_LAMBDA",
Pause = "PAUSE",
});

wire_enum!(DeploymentRolloutState {
Completed = "COMPLETED",
Failed = "FAILED",
InProgress = "IN_PROGRESS",
});

wire_enum!(DeploymentStrategy {
Rolling = "ROLLING",
BlueGreen = "BLUE_GREEN",
Linear = "LINEAR",
Canary = "CANARY",
});

wire_enum!(DesiredStatus {
Running = "RUNNING",
Pending = "PENDING",
Stopped = "STOPPED",
});

wire_enum!(DeviceCgroupPermission {
Read = "read",
Write = "write",
Mknod = "mknod",
});

wire_enum!(EBSResourceType {
Volume = "volume",
});

wire_enum!(EFSAuthorizationConfigIAM {
Enabled = "ENABLED",
Disabled = "DISABLED",
});

wire_enum!(EFSTransitEncryption {
Enabled = "ENABLED",
Disabled = "DISABLED",
});

wire_enum!(EnvironmentFileType {
S3 = "s3",
});

wire_enum!(ExecuteCommandLogging {
None = "NONE",
Default = "DEFAULT",
Override = "OVERRIDE",
});

wire_enum!(ExpressCpuArchitecture {
X8664 = "X86_64",
Arm64 = "ARM64",
});

wire_enum!(ExpressGatewayServiceInclude {
Tags = "TAGS",
});

wire_enum!(ExpressGatewayServiceScalingMetric {
AverageCpu = "AVERAGE_CPU",
AverageMemory = "AVERAGE_MEMORY",
RequestCountPerTarget = "REQUEST_COUNT_PER_TARGET",
});

wire_enum!(ExpressGatewayServiceStatusCode {
Active = "ACTIVE",
Draining = "DRAINING",
Inactive = "INACTIVE",
});

wire_enum!(FirelensConfigurationType {
Fluentd = "fluentd",
Fluentbit = "fluentbit",
});

wire_enum!(GatewayAlbDesyncMitigationMode {
Monitor = "monitor",
Defensive = "defensive",
Strictest = "strictest",
});

wire_enum!(GatewayAlbProtocol {
Http = "HTTP",
Https = "HTTPS",
});

wire_enum!(GatewayClusterAssociationStatus {
Active = "ACTIVE",
Disassociating = "DISASSOCIATING",
Inactive = "INACTIVE",
});

wire_enum!(GatewayConnectorHealthCheckProtocol {
Http = "HTTP",
Https = "HTTPS",
});

wire_enum!(GatewayElbIpAddressType {
Ipv4 = "ipv4",
Dualstack = "dualstack",
DualstackWithoutPublicIpv4 = "dualstack-without-public-ipv4",
});

wire_enum!(GatewayElbScheme {
InternetFacing = "internet-facing",
Internal = "internal",
});

wire_enum!(GatewayRouteStatus {
Active = "ACTIVE",
CreateInProgress = "CREATE_IN_PROGRESS",
CreateFailed = "CREATE_FAILED",
UpdateInProgress = "UPDATE_IN_PROGRESS",
UpdateFailed = "UPDATE_FAILED",
DeleteInProgress = "DELETE_IN_PROGRESS",
DeleteFailed = "DELETE_FAILED",
});

wire_enum!(GatewayStatus {
Active = "ACTIVE",
UpdateInProgress = "UPDATE_IN_PROGRESS",
UpdateComplete = "UPDATE_COMPLETE",
UpdateFailed = "UPDATE_FAILED",
Deleted = "DELETED",
});

wire_enum!(GpuSharingMode {
Idle = "IDLE",
NvidiaMps = "NVIDIA_MPS",
Dedicated = "DEDICATED",
});

wire_enum!(HealthStatus {
Healthy = "HEALTHY",
Unhealthy = "UNHEALTHY",
Unknown = "UNKNOWN",
});

wire_enum!(InstanceGeneration {
Current = "current",
Previous = "previous",
});

wire_enum!(InstanceHealthCheckState {
Ok = "OK",
Impaired = "IMPAIRED",
InsufficientData = "INSUFFICIENT_DATA",
Initializing = "INITIALIZING",
});

wire_enum!(InstanceHealthCheckType {
ContainerRuntime = "CONTAINER_RUNTIME",
AcceleratedCompute = "ACCELERATED_COMPUTE",
Daemon = "DAEMON",
AgentConnectivity = "AGENT_CONNECTIVITY",
});

wire_enum!(IpcMode {
Host = "host",
Task = "task",
None = "none",
});

wire_enum!(IsolationMode {
Shared = "SHARED",
IsolatedSandbox = "ISOLATED_SANDBOX",
ConfidentialSandbox = "CONFIDENTIAL_SANDBOX",
});

wire_enum!(LaunchType {
Ec2 = "EC2",
Fargate = "FARGATE",
External = "EXTERNAL",
ManagedInstances = "MANAGED_INSTANCES",
});

wire_enum!(LocalStorage {
Included = "included",
Required = "required",
Excluded = "excluded",
});

wire_enum!(LocalStorageType {
Hdd = "hdd",
Ssd = "ssd",
});

wire_enum!(LogDriver {
JsonFile = "json-file",
Syslog = "syslog",
Journald = "journald",
Gelf = "gelf",
Fluentd = "fluentd",
Awslogs = "awslogs",
Splunk = "splunk",
Awsfirelens = "awsfirelens",
});

wire_enum!(ManagedAgentName {
ExecuteCommandAgent = "ExecuteCommandAgent",
});

wire_enum!(ManagedDraining {
Enabled = "ENABLED",
Disabled = "DISABLED",
});

wire_enum!(ManagedInstancesMonitoringOptions {
Basic = "BASIC",
Detailed = "DETAILED",
});

wire_enum!(ManagedResourceStatus {
Provisioning = "PROVISIONING",
Active = "ACTIVE",
Deprovisioning = "DEPROVISIONING",
Deleted = "DELETED",
Failed = "FAILED",
});

wire_enum!(ManagedScalingStatus {
Enabled = "ENABLED",
Disabled = "DISABLED",
});

wire_enum!(ManagedTerminationProtection {
Enabled = "ENABLED",
Disabled = "DISABLED",
});

wire_enum!(NetworkMode {
Bridge = "bridge",
Host = "host",
Awsvpc = "awsvpc",
None = "none",
});

wire_enum!(OSFamily {
WindowsServer2019Full = "WINDOWS_SERVER_2019_FULL",
WindowsServer2019Core = "WINDOWS_SERVER_2019_CORE",
WindowsServer2016Full = "WINDOWS_SERVER_2016_FULL",
WindowsServer2004Core = "WINDOWS_SERVER_2004_CORE",
WindowsServer2022Core = "WINDOWS_SERVER_2022_CORE",
WindowsServer2022Full = "WINDOWS_SERVER_2022_FULL",
WindowsServer2025Core = "WINDOWS_SERVER_2025_CORE",
WindowsServer2025Full = "WINDOWS_SERVER_2025_FULL",
WindowsServer20h2Core = "WINDOWS_SERVER_20H2_CORE",
Linux = "LINUX",
});

wire_enum!(PidMode {
Host = "host",
Task = "task",
});

wire_enum!(PlacementConstraintType {
DistinctInstance = "distinctInstance",
MemberOf = "memberOf",
});

wire_enum!(PlacementStrategyType {
Random = "random",
Spread = "spread",
Binpack = "binpack",
});

wire_enum!(PlatformDeviceType {
Gpu = "GPU",
NeuronDevice = "NEURON_DEVICE",
});

wire_enum!(PropagateGatewayTags {
None = "NONE",
Gateway = "GATEWAY",
});

wire_enum!(PropagateMITags {
CapacityProvider = "CAPACITY_PROVIDER",
None = "NONE",
});

wire_enum!(PropagateTags {
TaskDefinition = "TASK_DEFINITION",
Service = "SERVICE",
None = "NONE",
});

wire_enum!(ProxyConfigurationType {
Appmesh = "APPMESH",
});

wire_enum!(ResourceManagementType {
Customer = "CUSTOMER",
Ecs = "ECS",
});

wire_enum!(ResourceType {
Gpu = "GPU",
InferenceAccelerator = "InferenceAccelerator",
NeuronDevice = "NeuronDevice",
});

wire_enum!(ScaleUnit {
Percent = "PERCENT",
});

wire_enum!(SchedulingStrategy {
Replica = "REPLICA",
Daemon = "DAEMON",
});

wire_enum!(Scope {
Task = "task",
Shared = "shared",
});

wire_enum!(ServiceConnectAccessLoggingFormat {
Text = "TEXT",
Json = "JSON",
});

wire_enum!(ServiceConnectContainerLogLevel {
Debug = "debug",
Info = "info",
});

wire_enum!(ServiceConnectIncludeQueryParameters {
Disabled = "DISABLED",
Enabled = "ENABLED",
});

wire_enum!(ServiceDeploymentLifecycleStage {
ReconcileService = "RECONCILE_SERVICE",
PreScaleUp = "PRE_SCALE_UP",
ScaleUp = "SCALE_UP",
PostScaleUp = "POST_SCALE_UP",
TestTrafficShift = "TEST_TRAFFIC_SHIFT",
PostTestTrafficShift = "POST_TEST_TRAFFIC_SHIFT",
ProductionTrafficShift = "PRODUCTION_TRAFFIC_SHIFT",
PostProductionTrafficShift = "POST_PRODUCTION_TRAFFIC_SHIFT",
BakeTime = "BAKE_TIME",
CleanUp = "CLEAN_UP",
});

wire_enum!(ServiceDeploymentRollbackMonitorsStatus {
Triggered = "TRIGGERED",
Monitoring = "MONITORING",
MonitoringComplete = "MONITORING_COMPLETE",
Disabled = "DISABLED",
});

wire_enum!(ServiceDeploymentStatus {
Pending = "PENDING",
Successful = "SUCCESSFUL",
Stopped = "STOPPED",
StopRequested = "STOP_REQUESTED",
InProgress = "IN_PROGRESS",
RollbackRequested = "ROLLBACK_REQUESTED",
RollbackInProgress = "ROLLBACK_IN_PROGRESS",
RollbackSuccessful = "ROLLBACK_SUCCESSFUL",
RollbackFailed = "ROLLBACK_FAILED",
});

wire_enum!(ServiceField {
Tags = "TAGS",
});

wire_enum!(ServiceRevisionCleanup {
Blocking = "BLOCKING",
Deferred = "DEFERRED",
});

wire_enum!(SettingName {
ServiceLongArnFormat = "serviceLongArnFormat",
TaskLongArnFormat = "taskLongArnFormat",
ContainerInstanceLongArnFormat = "containerInstanceLongArnFormat",
AwsvpcTrunking = "awsvpcTrunking",
ContainerInsights = "containerInsights",
FargateFIPSMode = "fargateFIPSMode",
TagResourceAuthorization = "tagResourceAuthorization",
FargateTaskRetirementWaitPeriod = "fargateTaskRetirementWaitPeriod",
GuardDutyActivate = "guardDutyActivate",
DefaultLogDriverMode = "defaultLogDriverMode",
FargateEventWindows = "fargateEventWindows",
});

wire_enum!(SettingType {
User = "user",
AwsManaged = "aws_managed",
});

wire_enum!(SortOrder {
Asc = "ASC",
Desc = "DESC",
});

wire_enum!(StabilityStatus {
SteadyState = "STEADY_STATE",
Stabilizing = "STABILIZING",
});

wire_enum!(StopServiceDeploymentStopType {
Abort = "ABORT",
Rollback = "ROLLBACK",
});

wire_enum!(TargetType {
ContainerInstance = "container-instance",
});

wire_enum!(TaskDefinitionFamilyStatus {
Active = "ACTIVE",
Inactive = "INACTIVE",
All = "ALL",
});

wire_enum!(TaskDefinitionField {
Tags = "TAGS",
});

wire_enum!(TaskDefinitionPlacementConstraintType {
MemberOf = "memberOf",
});

wire_enum!(TaskDefinitionStatus {
Active = "ACTIVE",
Inactive = "INACTIVE",
DeleteInProgress = "DELETE_IN_PROGRESS",
});

wire_enum!(TaskField {
Tags = "TAGS",
});

wire_enum!(TaskFilesystemType {
Ext3 = "ext3",
Ext4 = "ext4",
Xfs = "xfs",
Ntfs = "ntfs",
});

wire_enum!(TaskSetField {
Tags = "TAGS",
});

wire_enum!(TaskStopCode {
TaskFailedToStart = "TaskFailedToStart",
EssentialContainerExited = "EssentialContainerExited",
UserInitiated = "UserInitiated",
ServiceSchedulerInitiated = "ServiceSchedulerInitiated",
SpotInterruption = "SpotInterruption",
TerminationNotice = "TerminationNotice",
InfrastructureHealth = "InfrastructureHealth",
});

wire_enum!(ThresholdType {
Count = "COUNT",
BoundedPercent = "BOUNDED_PERCENT",
UnboundedPercent = "UNBOUNDED_PERCENT",
});

wire_enum!(TransportProtocol {
Tcp = "tcp",
Udp = "udp",
});

wire_enum!(UlimitName {
Core = "core",
Cpu = "cpu",
Data = "data",
Fsize = "fsize",
Locks = "locks",
Memlock = "memlock",
Msgqueue = "msgqueue",
Nice = "nice",
Nofile = "nofile",
Nproc = "nproc",
Rss = "rss",
Rtprio = "rtprio",
Rttime = "rttime",
Sigpending = "sigpending",
Stack = "stack",
});

wire_enum!(VersionConsistency {
Enabled = "enabled",
Disabled = "disabled",
});
