//! The variables of the environment by which services are reached, for those who have to set them.

use super::location::Service;

/// What a user can set for one service.
pub(super) struct Variables {
    /// Where credentials are read from, and where not.
    pub(super) credentials: &'static str,
    /// The address of the service.
    pub(super) endpoint: &'static str,
    /// What lets it be an address without TLS.
    pub(super) allow_http: &'static str,
    /// Where its buckets are, if a request has to say so.
    pub(super) region: Option<&'static str>,
}

impl Service {
    pub(super) fn variables(self) -> Variables {
        match self {
            Self::S3 => Variables {
                credentials: "`AWS_ACCESS_KEY_ID` and `AWS_SECRET_ACCESS_KEY` (or a role of the machine; \
                              `AWS_SKIP_SIGNATURE=true` for public buckets); profiles in `~/.aws` are not read",
                endpoint: "AWS_ENDPOINT_URL",
                allow_http: "AWS_ALLOW_HTTP",
                region: Some("AWS_REGION"),
            },
            Self::Google => Variables {
                credentials: "`GOOGLE_APPLICATION_CREDENTIALS` or `GOOGLE_SERVICE_ACCOUNT` (or a role of the machine; \
                              `GOOGLE_SKIP_SIGNATURE=true` for public buckets)",
                endpoint: "GOOGLE_BASE_URL",
                allow_http: "GOOGLE_ALLOW_HTTP",
                region: None,
            },
            Self::Azure => Variables {
                credentials: "`AZURE_STORAGE_ACCOUNT_NAME` with `AZURE_STORAGE_ACCOUNT_KEY` or `AZURE_STORAGE_SAS_TOKEN` \
                              (or a role of the machine; `AZURE_SKIP_SIGNATURE=true` for public containers)",
                endpoint: "AZURE_STORAGE_ENDPOINT",
                allow_http: "AZURE_ALLOW_HTTP",
                region: None,
            },
            #[cfg(test)]
            Self::Memory => Variables { credentials: "", endpoint: "", allow_http: "", region: None },
        }
    }
}
