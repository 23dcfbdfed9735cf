//! Docker repositories, what is in them, and the tags that point to it, by Artifact Registry v1.

use serde::Deserialize;
use serde_json::{Value, json};

use super::api::{Api, Method};
use super::client::Gcp;
use super::documents::contains;
use super::error::{ErrorKind, GcpError};
use super::operation::Operation;
use super::rest::Request;

const LIST: Method =
    Method::read(Api::ArtifactRegistry, "GET", "artifactregistry.projects.locations.repositories.list");
const GET: Method =
    Method::read(Api::ArtifactRegistry, "GET", "artifactregistry.projects.locations.repositories.get");
const CREATE: Method =
    Method::write(Api::ArtifactRegistry, "POST", "artifactregistry.projects.locations.repositories.create");
const PATCH: Method =
    Method::write(Api::ArtifactRegistry, "PATCH", "artifactregistry.projects.locations.repositories.patch");
const DELETE: Method =
    Method::write(Api::ArtifactRegistry, "DELETE", "artifactregistry.projects.locations.repositories.delete");
const OPERATION: Method =
    Method::read(Api::ArtifactRegistry, "GET", "artifactregistry.projects.locations.operations.get");
const IMAGES: Method = Method::read(
    Api::ArtifactRegistry,
    "GET",
    "artifactregistry.projects.locations.repositories.dockerImages.list",
);
const IMAGE: Method = Method::read(
    Api::ArtifactRegistry,
    "GET",
    "artifactregistry.projects.locations.repositories.dockerImages.get",
);
const GET_TAG: Method = Method::read(
    Api::ArtifactRegistry,
    "GET",
    "artifactregistry.projects.locations.repositories.packages.tags.get",
);
const CREATE_TAG: Method = Method::write(
    Api::ArtifactRegistry,
    "POST",
    "artifactregistry.projects.locations.repositories.packages.tags.create",
);
const MOVE_TAG: Method = Method::write(
    Api::ArtifactRegistry,
    "PATCH",
    "artifactregistry.projects.locations.repositories.packages.tags.patch",
);
const DELETE_TAG: Method = Method::write(
    Api::ArtifactRegistry,
    "DELETE",
    "artifactregistry.projects.locations.repositories.packages.tags.delete",
);

/// The largest page of repositories and of images (documented).
const PAGE: &str = "1000";

/// An image of a repository.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Image {
    /// As people write it, with its slashes: `api`, `web/api`.
    pub package: String,
    /// `sha256:` and 64 hexadecimal digits.
    pub digest: String,
    pub tags: Vec<String>,
    /// RFC 3339; empty if Google did not say it.
    pub uploaded: String,
}

/// The name of a tag: `repository` is a resource name, `package` is as people write it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Tag<'a> {
    pub repository: &'a str,
    pub package: &'a str,
    pub tag: &'a str,
}

impl Tag<'_> {
    /// `.../packages/P`: "If the package ID part contains slashes, the slashes are escaped" (`Package.name`).
    fn parent(&self) -> String {
        format!("{}/packages/{}", self.repository, self.package.replace('/', "%2F"))
    }

    fn resource(&self) -> String {
        format!("{}/tags/{}", self.parent(), self.tag)
    }

    fn body(&self, digest: &str) -> Value {
        json!({"name": self.resource(), "version": format!("{}/versions/{digest}", self.parent())})
    }
}

/// `DockerImage`, as far as it is read.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct WireImage {
    /// `.../dockerImages/PACKAGE@DIGEST`
    name: String,
    #[serde(default)]
    tags: Vec<String>,
    #[serde(default)]
    upload_time: String,
}

impl WireImage {
    fn read(self, doing: &str) -> Result<Image, GcpError> {
        let id = self.name.split_once("/dockerImages/").map_or("", |(_, id)| id);
        let Some((package, digest)) = id.rsplit_once('@') else {
            let message = format!("`{}` is not the name of an image", self.name);
            return Err(GcpError::new(doing, ErrorKind::Unreadable, message));
        };
        Ok(Image {
            package: package.replace("%2F", "/"),
            digest: digest.to_owned(),
            tags: self.tags,
            uploaded: self.upload_time,
        })
    }
}

impl Gcp {
    /// All repositories of a project at a location, of every format.
    pub async fn list_repositories(&self, project: &str, location: &str) -> Result<Vec<Value>, GcpError> {
        let doing = format!("list the repositories of {project} in {location}");
        let path = format!("v1/projects/{project}/locations/{location}/repositories");
        self.rest_list(&doing, || Request::new(&LIST, &*path).query("pageSize", PAGE), "repositories").await
    }

    /// A repository by its resource name; `None` when there is none.
    pub async fn repository(&self, name: &str) -> Result<Option<Value>, GcpError> {
        let doing = format!("read repository {}", short(name));
        match self.rest(&doing, Request::new(&GET, format!("v1/{name}"))).await {
            Ok(repository) => Ok(Some(repository)),
            Err(error) if error.kind == ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Creates a repository and waits until it is there. One that is there already as it was to be made is fine: a lost
    /// attempt of ours made it, or another run of the same plan.
    pub async fn create_repository(&self, name: &str, doc: &Value) -> Result<(), GcpError> {
        let doing = format!("create repository {}", short(name));
        let parent = name.rsplit_once('/').map_or(name, |(parent, _)| parent);
        let request = Request::new(&CREATE, format!("v1/{parent}"))
            .query("repositoryId", short(name))
            .body(doc.clone());
        let created = match self.rest(&doing, request).await {
            Ok(started) => self.ended(&doing, started).await,
            Err(error) => Err(error),
        };
        match created {
            Err(error) if exists_already(&error.kind) => match self.repository(name).await? {
                Some(live) if contains(&live, doc) => Ok(()),
                _ => Err(error),
            },
            other => other,
        }
    }

    /// Changes the fields that `mask` names. A repository has no etag: who reads it before and compares has done
    /// what can be done.
    pub async fn patch_repository(&self, name: &str, doc: Value, mask: &[&str]) -> Result<(), GcpError> {
        let doing = format!("change repository {}", short(name));
        let request =
            Request::new(&PATCH, format!("v1/{name}")).query("updateMask", mask.join(",")).body(doc);
        self.rest(&doing, request).await?;
        Ok(())
    }

    /// Deletes a repository with everything in it, and waits until it is gone; one that is not there is fine.
    pub async fn delete_repository(&self, name: &str) -> Result<(), GcpError> {
        let doing = format!("delete repository {}", short(name));
        match self.rest(&doing, Request::new(&DELETE, format!("v1/{name}"))).await {
            Ok(started) => self.ended(&doing, started).await,
            Err(error) if error.kind == ErrorKind::NotFound => Ok(()),
            Err(error) => Err(error),
        }
    }

    /// All images of a Docker repository; `None` when there is no such repository.
    pub async fn list_images(&self, repository: &str) -> Result<Option<Vec<Image>>, GcpError> {
        let doing = format!("list the images of repository {}", short(repository));
        let path = format!("v1/{repository}/dockerImages");
        let request = || Request::new(&IMAGES, &*path).query("pageSize", PAGE);
        let images: Vec<WireImage> = match self.rest_list(&doing, request, "dockerImages").await {
            Err(error) if error.kind == ErrorKind::NotFound => return Ok(None),
            other => other?,
        };
        images.into_iter().map(|image| image.read(&doing)).collect::<Result<_, _>>().map(Some)
    }

    /// Whether a repository (resource name) has an image: its package as people write it, and its digest.
    pub async fn has_image(&self, repository: &str, package: &str, digest: &str) -> Result<bool, GcpError> {
        let doing = format!("read image {package}@{digest}");
        let package = package.replace('/', "%2F");
        let path = format!("v1/{repository}/dockerImages/{package}@{digest}");
        match self.rest(&doing, Request::new(&IMAGE, path)).await {
            Ok(_) => Ok(true),
            Err(error) if error.kind == ErrorKind::NotFound => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// The digest that a tag points to; `None` when there is no such tag.
    pub async fn tagged(&self, tag: Tag<'_>) -> Result<Option<String>, GcpError> {
        let doing = format!("read tag {}:{}", tag.package, tag.tag);
        match self.rest(&doing, Request::new(&GET_TAG, format!("v1/{}", tag.resource()))).await {
            Ok(found) => Ok(Some(short(found["version"].as_str().unwrap_or_default()).to_owned())),
            Err(error) if error.kind == ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Puts a new tag on an image; one that is there and points to it is fine.
    pub async fn create_tag(&self, tag: Tag<'_>, digest: &str) -> Result<(), GcpError> {
        let doing = format!("put tag {} on {}", tag.tag, tag.package);
        let request = Request::new(&CREATE_TAG, format!("v1/{}/tags", tag.parent()))
            .query("tagId", tag.tag)
            .body(tag.body(digest));
        match self.rest(&doing, request).await {
            Err(error)
                if error.kind == ErrorKind::AlreadyExists
                    && self.tagged(tag).await?.as_deref() == Some(digest) =>
            {
                Ok(())
            }
            Err(error) => Err(error),
            Ok(_) => Ok(()),
        }
    }

    /// Points a tag that exists at another image of its package.
    pub async fn move_tag(&self, tag: Tag<'_>, digest: &str) -> Result<(), GcpError> {
        let doing = format!("move tag {} of {}", tag.tag, tag.package);
        let request = Request::new(&MOVE_TAG, format!("v1/{}", tag.resource()))
            .query("updateMask", "version")
            .body(tag.body(digest));
        self.rest(&doing, request).await?;
        Ok(())
    }

    /// Takes a tag off its image; one that is not there is fine.
    pub async fn delete_tag(&self, tag: Tag<'_>) -> Result<(), GcpError> {
        let doing = format!("delete tag {} of {}", tag.tag, tag.package);
        match self.rest(&doing, Request::new(&DELETE_TAG, format!("v1/{}", tag.resource()))).await {
            Err(error) if error.kind != ErrorKind::NotFound => Err(error),
            _ => Ok(()),
        }
    }

    async fn ended(&self, doing: &str, started: Value) -> Result<(), GcpError> {
        let poll = |name: String| async move {
            let request = Request::new(&OPERATION, format!("v1/{name}"));
            Operation::read(doing, self.rest(doing, request).await?)
        };
        let ended = self.wait(doing, Operation::read(doing, started)?, poll).await?;
        ended.into_response(doing)?;
        Ok(())
    }
}

/// Of two creations that run at once, the later one fails as an operation; 6 is `ALREADY_EXISTS` of `google.rpc.Code`.
fn exists_already(kind: &ErrorKind) -> bool {
    matches!(kind, ErrorKind::AlreadyExists | ErrorKind::OperationFailed { code: 6 })
}

fn short(name: &str) -> &str {
    name.rsplit('/').next().unwrap_or(name)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::gcp::testserver::{Answer, Server, refusal};

    const NAME: &str = "projects/p/locations/us/repositories/r";
    const TAG: Tag<'static> = Tag { repository: NAME, package: "web/api", tag: "v1" };

    fn version(digest: &str) -> String {
        format!("{NAME}/packages/web%2Fapi/versions/{digest}")
    }

    fn exists() -> Answer {
        Answer::json(409, refusal(409, "ALREADY_EXISTS"))
    }

    #[tokio::test]
    async fn an_image_is_there_or_not() {
        let server = Server::start(vec![
            Answer::json(200, json!({"name": "x"})),
            Answer::json(404, refusal(404, "NOT_FOUND")),
        ])
        .await;
        let gcp = server.gcp().await;
        assert!(gcp.has_image(NAME, "web/api", "sha256:a").await.unwrap());
        assert!(!gcp.has_image(NAME, "api", "sha256:b").await.unwrap());
        let target = &server.requests()[0].target;
        assert!(target.ends_with("/repositories/r/dockerImages/web%2Fapi@sha256:a"), "{target}");
    }

    #[tokio::test]
    async fn images_of_all_pages_are_read_with_their_packages_as_people_write_them() {
        let page = |id: &str, next: &str| {
            let image =
                json!({"name": format!("{NAME}/dockerImages/{id}"), "tags": ["v1"], "uploadTime": "t"});
            Answer::json(200, json!({"dockerImages": [image], "nextPageToken": next}))
        };
        let server = Server::start(vec![page("web%2Fapi@sha256:a", "n"), page("b@sha256:b", "")]).await;
        let images = server.gcp().await.list_images(NAME).await.unwrap().unwrap();
        let names: Vec<_> = images.iter().map(|i| (i.package.as_str(), i.digest.as_str())).collect();
        assert_eq!(names, [("web/api", "sha256:a"), ("b", "sha256:b")]);
        assert!(server.requests()[1].target.contains("pageToken=n"));
    }

    #[tokio::test]
    async fn an_image_without_a_digest_is_an_error() {
        let images = json!({"dockerImages": [{"name": format!("{NAME}/dockerImages/api")}]});
        let server = Server::start(vec![Answer::json(200, images)]).await;
        let error = server.gcp().await.list_images(NAME).await.unwrap_err();
        assert_eq!(error.kind, ErrorKind::Unreadable);
    }

    #[tokio::test]
    async fn a_repository_that_is_not_there_holds_nothing_to_list() {
        let server = Server::start(vec![Answer::json(404, refusal(404, "NOT_FOUND"))]).await;
        assert_eq!(server.gcp().await.list_images(NAME).await.unwrap(), None);
    }

    #[tokio::test]
    async fn a_tag_is_created_by_its_escaped_name() {
        let server = Server::start(vec![Answer::json(200, json!({}))]).await;
        server.gcp().await.create_tag(TAG, "sha256:a").await.unwrap();
        let request = &server.requests()[0];
        let line = format!("POST /artifactregistry.googleapis.com/v1/{NAME}/packages/web%2Fapi/tags");
        assert!(request.line().starts_with(&line), "{}", request.line());
        assert_eq!(request.json()["version"], version("sha256:a"));
    }

    #[tokio::test]
    async fn a_tag_that_points_there_already_is_fine_and_another_is_not() {
        for (digest, fine) in [("sha256:a", true), ("sha256:b", false)] {
            let found = json!({"name": "n", "version": version(digest)});
            let server = Server::start(vec![exists(), Answer::json(200, found)]).await;
            let created = server.gcp().await.create_tag(TAG, "sha256:a").await;
            assert_eq!(created.is_ok(), fine, "{digest}");
        }
    }

    #[tokio::test]
    async fn a_repository_made_by_a_lost_attempt_is_ours_and_another_is_not() {
        for (description, fine) in [("ours", true), ("theirs", false)] {
            let live =
                json!({"name": NAME, "format": "DOCKER", "description": description, "sizeBytes": "1"});
            let server = Server::start(vec![Answer::Drop, exists(), Answer::json(200, live)]).await;
            let doc = json!({"format": "DOCKER", "description": "ours"});
            let created = server.gcp().await.create_repository(NAME, &doc).await;
            assert_eq!(created.is_ok(), fine, "{description}");
        }
    }

    #[tokio::test]
    async fn making_a_repository_waits_for_its_operation() {
        let operation = format!("{}/operations/x", NAME.split("/repositories").next().unwrap());
        let server = Server::start(vec![
            Answer::json(200, json!({"name": operation})),
            Answer::json(200, json!({"name": operation, "done": true, "response": {}})),
        ])
        .await;
        server.gcp().await.create_repository(NAME, &json!({"format": "DOCKER"})).await.unwrap();
        let requests = server.requests();
        assert!(requests[0].target.contains("repositoryId=r"), "{}", requests[0].target);
        assert_eq!(requests[1].line(), format!("GET /artifactregistry.googleapis.com/v1/{operation}"));
    }
}
