// Generated from botocore 1.44.5, service model ecs 2014-11-13, by our generator. Do not edit; see NOTICE.

use super::{requests, responses};
use crate::wire::operations;

/// What `X-Amz-Target` begins with, up to the dot.
pub const TARGET_PREFIX: &str = "AmazonEC2ContainerServiceV20141113";

/// The service's name in a credential scope.
pub const SIGNING_NAME: &str = "ecs";

operations! {
    AssociateGatewayWithCluster(requests::AssociateGatewayWithClusterRequest) -> responses::AssociateGatewayWithClusterResponse {
        gateway = "gateway",
        cluster = "cluster",
    }
    ContinueServiceDeployment(requests::ContinueServiceDeploymentRequest) -> responses::ContinueServiceDeploymentResponse {
        service_deployment_arn = "serviceDeploymentArn",
        hook_id = "hookId",
    }
    CreateCapacityProvider(requests::CreateCapacityProviderRequest) -> responses::CreateCapacityProviderResponse {
        name = "name",
    }
    CreateCluster(requests::CreateClusterRequest) -> responses::CreateClusterResponse {
    }
    CreateDaemon(requests::CreateDaemonRequest) -> responses::CreateDaemonResponse {
        daemon_name = "daemonName",
        daemon_task_definition_arn = "daemonTaskDefinitionArn",
        capacity_provider_arns = "capacityProviderArns",
    }
    CreateExpressGatewayService(requests::CreateExpressGatewayServiceRequest) -> responses::CreateExpressGatewayServiceResponse {
        infrastructure_role_arn = "infrastructureRoleArn",
    }
    CreateGateway(requests::CreateGatewayRequest) -> responses::CreateGatewayResponse {
        name = "name",
        infrastructure_role_arn = "infrastructureRoleArn",
        configuration = "configuration",
    }
    CreateService(requests::CreateServiceRequest) -> responses::CreateServiceResponse {
        service_name = "serviceName",
    }
    CreateTaskSet(requests::CreateTaskSetRequest) -> responses::CreateTaskSetResponse {
        service = "service",
        cluster = "cluster",
        task_definition = "taskDefinition",
    }
    DeleteAccountSetting(requests::DeleteAccountSettingRequest) -> responses::DeleteAccountSettingResponse {
        name = "name",
    }
    DeleteAttributes(requests::DeleteAttributesRequest) -> responses::DeleteAttributesResponse {
        attributes = "attributes",
    }
    DeleteCapacityProvider(requests::DeleteCapacityProviderRequest) -> responses::DeleteCapacityProviderResponse {
        capacity_provider = "capacityProvider",
    }
    DeleteCluster(requests::DeleteClusterRequest) -> responses::DeleteClusterResponse {
        cluster = "cluster",
    }
    DeleteDaemon(requests::DeleteDaemonRequest) -> responses::DeleteDaemonResponse {
        daemon_arn = "daemonArn",
    }
    DeleteDaemonTaskDefinition(requests::DeleteDaemonTaskDefinitionRequest) -> responses::DeleteDaemonTaskDefinitionResponse {
        daemon_task_definition = "daemonTaskDefinition",
    }
    DeleteExpressGatewayService(requests::DeleteExpressGatewayServiceRequest) -> responses::DeleteExpressGatewayServiceResponse {
        service_arn = "serviceArn",
    }
    DeleteGateway(requests::DeleteGatewayRequest) -> responses::DeleteGatewayResponse {
        gateway = "gateway",
    }
    DeleteService(requests::DeleteServiceRequest) -> responses::DeleteServiceResponse {
        service = "service",
    }
    DeleteTaskDefinitions(requests::DeleteTaskDefinitionsRequest) -> responses::DeleteTaskDefinitionsResponse {
        task_definitions = "taskDefinitions",
    }
    DeleteTaskSet(requests::DeleteTaskSetRequest) -> responses::DeleteTaskSetResponse {
        cluster = "cluster",
        service = "service",
        task_set = "taskSet",
    }
    DeregisterContainerInstance(requests::DeregisterContainerInstanceRequest) -> responses::DeregisterContainerInstanceResponse {
        container_instance = "containerInstance",
    }
    DeregisterTaskDefinition(requests::DeregisterTaskDefinitionRequest) -> responses::DeregisterTaskDefinitionResponse {
        task_definition = "taskDefinition",
    }
    DescribeCapacityProviders(requests::DescribeCapacityProvidersRequest) -> responses::DescribeCapacityProvidersResponse {
    }
    DescribeClusters(requests::DescribeClustersRequest) -> responses::DescribeClustersResponse {
    }
    DescribeContainerInstances(requests::DescribeContainerInstancesRequest) -> responses::DescribeContainerInstancesResponse {
        container_instances = "containerInstances",
    }
    DescribeDaemon(requests::DescribeDaemonRequest) -> responses::DescribeDaemonResponse {
        daemon_arn = "daemonArn",
    }
    DescribeDaemonDeployments(requests::DescribeDaemonDeploymentsRequest) -> responses::DescribeDaemonDeploymentsResponse {
        daemon_deployment_arns = "daemonDeploymentArns",
    }
    DescribeDaemonRevisions(requests::DescribeDaemonRevisionsRequest) -> responses::DescribeDaemonRevisionsResponse {
        daemon_revision_arns = "daemonRevisionArns",
    }
    DescribeDaemonTaskDefinition(requests::DescribeDaemonTaskDefinitionRequest) -> responses::DescribeDaemonTaskDefinitionResponse {
        daemon_task_definition = "daemonTaskDefinition",
    }
    DescribeExpressGatewayService(requests::DescribeExpressGatewayServiceRequest) -> responses::DescribeExpressGatewayServiceResponse {
        service_arn = "serviceArn",
    }
    DescribeGateway(requests::DescribeGatewayRequest) -> responses::DescribeGatewayResponse {
        gateway = "gateway",
    }
    DescribeGatewayResources(requests::DescribeGatewayResourcesRequest) -> responses::DescribeGatewayResourcesResponse {
        gateway = "gateway",
    }
    DescribeGatewayRoute(requests::DescribeGatewayRouteRequest) -> responses::DescribeGatewayRouteResponse {
        gateway_route_arn = "gatewayRouteArn",
    }
    DescribeServiceDeployments(requests::DescribeServiceDeploymentsRequest) -> responses::DescribeServiceDeploymentsResponse {
        service_deployment_arns = "serviceDeploymentArns",
    }
    DescribeServiceRevisions(requests::DescribeServiceRevisionsRequest) -> responses::DescribeServiceRevisionsResponse {
        service_revision_arns = "serviceRevisionArns",
    }
    DescribeServices(requests::DescribeServicesRequest) -> responses::DescribeServicesResponse {
        services = "services",
    }
    DescribeTaskDefinition(requests::DescribeTaskDefinitionRequest) -> responses::DescribeTaskDefinitionResponse {
        task_definition = "taskDefinition",
    }
    DescribeTaskSets(requests::DescribeTaskSetsRequest) -> responses::DescribeTaskSetsResponse {
        cluster = "cluster",
        service = "service",
    }
    DescribeTasks(requests::DescribeTasksRequest) -> responses::DescribeTasksResponse {
        tasks = "tasks",
    }
    DisassociateGatewayFromCluster(requests::DisassociateGatewayFromClusterRequest) -> responses::DisassociateGatewayFromClusterResponse {
        gateway = "gateway",
        cluster = "cluster",
    }
    DiscoverPollEndpoint(requests::DiscoverPollEndpointRequest) -> responses::DiscoverPollEndpointResponse {
    }
    ExecuteCommand(requests::ExecuteCommandRequest) -> responses::ExecuteCommandResponse {
        command = "command",
        interactive = "interactive",
        task = "task",
    }
    GetTaskProtection(requests::GetTaskProtectionRequest) -> responses::GetTaskProtectionResponse {
        cluster = "cluster",
    }
    ListAccountSettings(requests::ListAccountSettingsRequest) -> responses::ListAccountSettingsResponse {
    }
    ListAttributes(requests::ListAttributesRequest) -> responses::ListAttributesResponse {
        target_type = "targetType",
    }
    ListClusters(requests::ListClustersRequest) -> responses::ListClustersResponse {
    }
    ListContainerInstances(requests::ListContainerInstancesRequest) -> responses::ListContainerInstancesResponse {
    }
    ListDaemonDeployments(requests::ListDaemonDeploymentsRequest) -> responses::ListDaemonDeploymentsResponse {
        daemon_arn = "daemonArn",
    }
    ListDaemonTaskDefinitions(requests::ListDaemonTaskDefinitionsRequest) -> responses::ListDaemonTaskDefinitionsResponse {
    }
    ListDaemons(requests::ListDaemonsRequest) -> responses::ListDaemonsResponse {
    }
    ListGatewayClusterAssociations(requests::ListGatewayClusterAssociationsRequest) -> responses::ListGatewayClusterAssociationsResponse {
    }
    ListGatewayRoutes(requests::ListGatewayRoutesRequest) -> responses::ListGatewayRoutesResponse {
    }
    ListGateways(requests::ListGatewaysRequest) -> responses::ListGatewaysResponse {
    }
    ListServiceDeployments(requests::ListServiceDeploymentsRequest) -> responses::ListServiceDeploymentsResponse {
        service = "service",
    }
    ListServices(requests::ListServicesRequest) -> responses::ListServicesResponse {
    }
    ListServicesByNamespace(requests::ListServicesByNamespaceRequest) -> responses::ListServicesByNamespaceResponse {
        namespace = "namespace",
    }
    ListTagsForResource(requests::ListTagsForResourceRequest) -> responses::ListTagsForResourceResponse {
        resource_arn = "resourceArn",
    }
    ListTaskDefinitionFamilies(requests::ListTaskDefinitionFamiliesRequest) -> responses::ListTaskDefinitionFamiliesResponse {
    }
    ListTaskDefinitions(requests::ListTaskDefinitionsRequest) -> responses::ListTaskDefinitionsResponse {
    }
    ListTasks(requests::ListTasksRequest) -> responses::ListTasksResponse {
    }
    PutAccountSetting(requests::PutAccountSettingRequest) -> responses::PutAccountSettingResponse {
        name = "name",
        value = "value",
    }
    PutAccountSettingDefault(requests::PutAccountSettingDefaultRequest) -> responses::PutAccountSettingDefaultResponse {
        name = "name",
        value = "value",
    }
    PutAttributes(requests::PutAttributesRequest) -> responses::PutAttributesResponse {
        attributes = "attributes",
    }
    PutClusterCapacityProviders(requests::PutClusterCapacityProvidersRequest) -> responses::PutClusterCapacityProvidersResponse {
        cluster = "cluster",
        capacity_providers = "capacityProviders",
        default_capacity_provider_strategy = "defaultCapacityProviderStrategy",
    }
    RegisterContainerInstance(requests::RegisterContainerInstanceRequest) -> responses::RegisterContainerInstanceResponse {
    }
    RegisterDaemonTaskDefinition(requests::RegisterDaemonTaskDefinitionRequest) -> responses::RegisterDaemonTaskDefinitionResponse {
        family = "family",
        container_definitions = "containerDefinitions",
    }
    RegisterTaskDefinition(requests::RegisterTaskDefinitionRequest) -> responses::RegisterTaskDefinitionResponse {
        family = "family",
        container_definitions = "containerDefinitions",
    }
    RunTask(requests::RunTaskRequest) -> responses::RunTaskResponse {
        task_definition = "taskDefinition",
    }
    StartTask(requests::StartTaskRequest) -> responses::StartTaskResponse {
        container_instances = "containerInstances",
        task_definition = "taskDefinition",
    }
    StopServiceDeployment(requests::StopServiceDeploymentRequest) -> responses::StopServiceDeploymentResponse {
        service_deployment_arn = "serviceDeploymentArn",
    }
    StopTask(requests::StopTaskRequest) -> responses::StopTaskResponse {
        task = "task",
    }
    SubmitAttachmentStateChanges(requests::SubmitAttachmentStateChangesRequest) -> responses::SubmitAttachmentStateChangesResponse {
        attachments = "attachments",
    }
    SubmitContainerStateChange(requests::SubmitContainerStateChangeRequest) -> responses::SubmitContainerStateChangeResponse {
    }
    SubmitTaskStateChange(requests::SubmitTaskStateChangeRequest) -> responses::SubmitTaskStateChangeResponse {
    }
    TagResource(requests::TagResourceRequest) -> responses::TagResourceResponse {
        resource_arn = "resourceArn",
        tags = "tags",
    }
    UntagResource(requests::UntagResourceRequest) -> responses::UntagResourceResponse {
        resource_arn = "resourceArn",
        tag_keys = "tagKeys",
    }
    UpdateCapacityProvider(requests::UpdateCapacityProviderRequest) -> responses::UpdateCapacityProviderResponse {
        name = "name",
    }
    UpdateCluster(requests::UpdateClusterRequest) -> responses::UpdateClusterResponse {
        cluster = "cluster",
    }
    UpdateClusterSettings(requests::UpdateClusterSettingsRequest) -> responses::UpdateClusterSettingsResponse {
        cluster = "cluster",
        settings = "settings",
    }
    UpdateContainerAgent(requests::UpdateContainerAgentRequest) -> responses::UpdateContainerAgentResponse {
        container_instance = "containerInstance",
    }
    UpdateContainerInstancesState(requests::UpdateContainerInstancesStateRequest) -> responses::UpdateContainerInstancesStateResponse {
        container_instances = "containerInstances",
        status = "status",
    }
    UpdateDaemon(requests::UpdateDaemonRequest) -> responses::UpdateDaemonResponse {
        daemon_arn = "daemonArn",
        daemon_task_definition_arn = "daemonTaskDefinitionArn",
        capacity_provider_arns = "capacityProviderArns",
    }
    UpdateExpressGatewayService(requests::UpdateExpressGatewayServiceRequest) -> responses::UpdateExpressGatewayServiceResponse {
        service_arn = "serviceArn",
    }
    UpdateGateway(requests::UpdateGatewayRequest) -> responses::UpdateGatewayResponse {
        gateway = "gateway",
    }
    UpdateService(requests::UpdateServiceRequest) -> responses::UpdateServiceResponse {
        service = "service",
    }
    UpdateServicePrimaryTaskSet(requests::UpdateServicePrimaryTaskSetRequest) -> responses::UpdateServicePrimaryTaskSetResponse {
        cluster = "cluster",
        service = "service",
        primary_task_set = "primaryTaskSet",
    }
    UpdateTaskProtection(requests::UpdateTaskProtectionRequest) -> responses::UpdateTaskProtectionResponse {
        cluster = "cluster",
        tasks = "tasks",
        protection_enabled = "protectionEnabled",
    }
    UpdateTaskSet(requests::UpdateTaskSetRequest) -> responses::UpdateTaskSetResponse {
        cluster = "cluster",
        service = "service",
        task_set = "taskSet",
        scale = "scale",
    }
}
