//! Which code answers which endpoint, and the description that follows from it (OpenAPI 3.1).

use std::sync::Arc;

use utoipa::openapi::content::ContentBuilder;
use utoipa::openapi::path::Operation;
use utoipa::openapi::security::{HttpAuthScheme, HttpBuilder, SecurityRequirement, SecurityScheme};
use utoipa::openapi::{ComponentsBuilder, InfoBuilder, OpenApi, OpenApiBuilder, Ref, RefOr, ResponseBuilder};
use utoipa::{PartialSchema as _, ToSchema as _};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::refusal::ErrorView;
use super::{Api, body, crls, manifests, revocations, standing};
use crate::control::roles::{Access, ENDPOINTS};

/// The name of the only way to prove who one is.
const TOKEN: &str = "token";

/// Every endpoint with the code that answers it.
pub(super) fn routes() -> OpenApiRouter<Arc<Api>> {
    let info = InfoBuilder::new()
        .title("Portcullis control plane")
        .version(env!("CARGO_PKG_VERSION"))
        .description(Some("Revoke, sign into force, and see what is in force on every gateway."))
        .build();
    OpenApiRouter::with_openapi(OpenApiBuilder::new().info(info).build())
        .routes(routes!(standing::live))
        .routes(routes!(standing::ready))
        .routes(routes!(standing::describe))
        .routes(routes!(revocations::revoke))
        .routes(routes!(revocations::list, revocations::create))
        .routes(routes!(revocations::show, revocations::lift))
        .routes(routes!(revocations::lift_signed))
        .routes(routes!(manifests::list, manifests::put))
        .routes(routes!(manifests::show, manifests::withdraw))
        .routes(routes!(manifests::approve))
        .routes(routes!(manifests::proposals))
        .routes(routes!(crls::list, crls::put))
        .routes(routes!(standing::gateways))
        .routes(routes!(standing::forget))
        .routes(routes!(standing::policy))
        .routes(routes!(standing::records))
}

/// Adds what is the same everywhere: how callers prove who they are, and how requests are refused.
pub(super) fn complete(mut description: OpenApi) -> OpenApi {
    let scheme = HttpBuilder::new().scheme(HttpAuthScheme::Bearer).build();
    let components = description.components.take().unwrap_or_else(|| ComponentsBuilder::new().build());
    let components = ComponentsBuilder::from(components)
        .schema(ErrorView::name(), ErrorView::schema())
        .security_scheme(TOKEN, SecurityScheme::Http(scheme))
        .build();
    description.components = Some(components);
    for endpoint in ENDPOINTS {
        let Some(item) = description.paths.paths.get_mut(endpoint.path) else { continue };
        let operation = match endpoint.method {
            "GET" => item.get.as_mut(),
            "PUT" => item.put.as_mut(),
            "POST" => item.post.as_mut(),
            _ => item.delete.as_mut(),
        };
        if let (Some(operation), Access::AnyOf(_)) = (operation, endpoint.access) {
            operation.security = Some(vec![SecurityRequirement::new(TOKEN, Vec::<String>::new())]);
            add_refusals(operation, endpoint.path.contains('{'));
        }
    }
    description
}

fn add_refusals(operation: &mut Operation, named: bool) {
    let always = [
        ("400", "a field of the body, the query or the path is wrong"),
        ("401", "nobody knows who asks"),
        ("403", "a role is missing"),
        ("429", "too many requests, or failed attempts"),
        ("503", "it cannot be written down or read at the moment"),
    ];
    let with_body = [
        ("408", "the body did not come in time"),
        ("413", "the body is too large"),
        ("415", "the body is declared as something else"),
    ];
    let of_name = [("404", "there is nothing of this name")];
    let has_body = operation.request_body.is_some();
    let with_body = with_body.into_iter().filter(|_| has_body);
    let of_name = of_name.into_iter().filter(|_| named);
    for (status, why) in always.into_iter().chain(with_body).chain(of_name) {
        let schema = Ref::from_schema_name(ErrorView::name());
        let content = ContentBuilder::new().schema(Some(schema)).build();
        let response = ResponseBuilder::new().description(why).content(body::JSON, content).build();
        operation.responses.responses.entry(status.to_owned()).or_insert(RefOr::T(response));
    }
}
