// Generated from botocore 1.44.5, service model ecs 2014-11-13, by our generator. Do not edit; see NOTICE.

use crate::wire::error_codes;

error_codes! {
    AccessDenied = "AccessDeniedException", 400;
    AttributeLimitExceeded = "AttributeLimitExceededException", 400;
    Blocked = "BlockedException", 400;
    Client = "ClientException", 400;
    ClusterContainsCapacityProvider = "ClusterContainsCapacityProviderException", 400;
    ClusterContainsContainerInstances = "ClusterContainsContainerInstancesException", 400;
    ClusterContainsServices = "ClusterContainsServicesException", 400;
    ClusterContainsTasks = "ClusterContainsTasksException", 400;
    ClusterNotFound = "ClusterNotFoundException", 400;
    Conflict = "ConflictException", 400;
    DaemonNotActive = "DaemonNotActiveException", 400;
    DaemonNotFound = "DaemonNotFoundException", 400;
    GatewayNotFound = "GatewayNotFoundException", 400;
    IncompleteSignature = "IncompleteSignatureException", 400;
    InternalFailure = "InternalFailure", 500;
    InvalidEventPattern = "InvalidEventPatternException", 400;
    InvalidNextToken = "InvalidNextTokenException", 400;
    InvalidParameter = "InvalidParameterException", 400;
    InvalidRequest = "InvalidRequestException", 400;
    InvalidSignature = "InvalidSignatureException", 400;
    LimitExceeded = "LimitExceededException", 400;
    MissingAuthenticationToken = "MissingAuthenticationTokenException", 400;
    MissingVersion = "MissingVersionException", 400;
    NamespaceNotFound = "NamespaceNotFoundException", 400;
    NoUpdateAvailable = "NoUpdateAvailableException", 400;
    ObjectNotFound = "ObjectNotFoundException", 400;
    PlatformTaskDefinitionIncompatibility = "PlatformTaskDefinitionIncompatibilityException", 400;
    PlatformUnknown = "PlatformUnknownException", 400;
    RequestEntityTooLarge = "RequestEntityTooLargeException", 413;
    RequestTimeout = "RequestTimeoutException", 408;
    ResourceAlreadyExists = "ResourceAlreadyExistsException", 400;
    ResourceExists = "ResourceExistsException", 400;
    ResourceInUse = "ResourceInUseException", 400;
    ResourceNotFound = "ResourceNotFoundException", 400;
    Serialization = "SerializationException", 400;
    Server = "ServerException", 500;
    ServiceDeploymentNotFound = "ServiceDeploymentNotFoundException", 400;
    ServiceNotActive = "ServiceNotActiveException", 400;
    ServiceNotFound = "ServiceNotFoundException", 400;
    TargetNotConnected = "TargetNotConnectedException", 400;
    TargetNotFound = "TargetNotFoundException", 400;
    TaskSetNotFound = "TaskSetNotFoundException", 400;
    Throttling = "ThrottlingException", 400;
    UnknownOperation = "UnknownOperationException", 400;
    UnrecognizedClient = "UnrecognizedClientException", 400;
    UnsupportedFeature = "UnsupportedFeatureException", 400;
    UpdateInProgress = "UpdateInProgressException", 400;
    Validation = "ValidationException", 400;
}
