//! What the services beside ECS are written with: the macros behind their operations and their shapes. Of each model
//! only a part is here, so that they are written by hand and not generated.

/// The operations of a service, by name; of a service with REST each with its method and its path, too.
macro_rules! service_operations {
    ($(#[$doc:meta])+ $operation:ident { $($(#[$about:meta])+ $name:ident,)+ }) => {
        $(#[$doc])+
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
        pub enum $operation {
            $($(#[$about])+ $name,)+
        }

        impl $operation {
            /// Every operation.
            pub const ALL: &'static [Self] = &[$(Self::$name),+];

            /// The name; in `X-Amz-Target` it stands after the dot.
            #[must_use]
            pub const fn name(self) -> &'static str {
                match self { $(Self::$name => stringify!($name),)+ }
            }

            /// The operation of that name; `None` when there is none.
            #[must_use]
            pub fn from_name(name: &str) -> Option<Self> {
                Self::ALL.iter().copied().find(|operation| operation.name() == name)
            }
        }
    };
    ($(#[$doc:meta])+ $operation:ident { $($(#[$about:meta])+ $name:ident: $method:literal $path:literal,)+ }) => {
        crate::sibling::service_operations! { $(#[$doc])+ $operation { $($(#[$about])+ $name,)+ } }

        impl $operation {
            /// The method of its requests.
            #[must_use]
            pub const fn method(self) -> &'static str {
                match self { $(Self::$name => $method,)+ }
            }

            /// The path of its requests; `{…}` stands for the member of that name.
            #[must_use]
            pub const fn path(self) -> &'static str {
                match self { $(Self::$name => $path,)+ }
            }
        }
    };
}
pub(crate) use service_operations;

/// Structures of the wire: every member may be absent, and what is absent is not written.
macro_rules! shapes {
    (
        rename_all = $case:literal;
        $($(#[doc = $doc:literal])+ $name:ident { $($(#[$attribute:meta])? $field:ident: $type:ty,)* })+
    ) => {
        $(
            $(#[doc = $doc])+
            #[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
            #[serde(rename_all = $case)]
            #[allow(missing_docs, reason = "members are those of the service's own documentation")]
            pub struct $name {
                $(
                    #[serde(default, skip_serializing_if = "Option::is_none")]
                    $(#[$attribute])?
                    pub $field: Option<$type>,
                )*
            }
        )+
    };
}
pub(crate) use shapes;
