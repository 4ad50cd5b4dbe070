//! Who a container runs as, by the request and by the user database in its root.

use std::os::fd::BorrowedFd;

use k8s_cri::v1::{Int64Value, LinuxContainerSecurityContext, LinuxContainerUser, SupplementalGroupsPolicy};
use runtime::security::user::User;

use crate::error::{Error, Result};

/// Larger ids are no users. The kernel's own largest is a little more than twice that.
const LARGEST_ID: i64 = i32::MAX as i64;

/// Who to look up, checked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Wanted {
    /// `user` or `user:group` for the database, of the request or else of the image.
    user: String,
    group: Option<u32>,
    groups: Vec<u32>,
    policy: SupplementalGroupsPolicy,
}

/// Checks the request. `image_user` is what the image says.
pub fn wanted(security: &LinuxContainerSecurityContext, image_user: &str) -> Result<Wanted> {
    let number = |field: &str, value: &Option<Int64Value>| {
        value.as_ref().map(|number| id(field, number.value)).transpose()
    };
    let uid = number("run_as_user", &security.run_as_user)?;
    let group = number("run_as_group", &security.run_as_group)?;
    let name = Some(&security.run_as_username).filter(|name| !name.is_empty());
    if group.is_some() && uid.is_none() && name.is_none() {
        return Err(Error::invalid("run_as_group", "it needs run_as_user or run_as_username"));
    }
    if name.is_some_and(|name| name.contains(':')) {
        return Err(Error::invalid("run_as_username", "a name has no colon"));
    }
    let groups = security.supplemental_groups.iter().map(|group| id("supplemental_groups", *group));
    Ok(Wanted {
        user: match (uid, name) {
            (Some(uid), _) => uid.to_string(),
            (None, Some(name)) => name.clone(),
            (None, None) => image_user.to_owned(),
        },
        group,
        groups: groups.collect::<Result<_>>()?,
        policy: SupplementalGroupsPolicy::try_from(security.supplemental_groups_policy)
            .map_err(|_| Error::invalid("supplemental_groups_policy", "there is no such policy"))?,
    })
}

fn id(field: &str, value: i64) -> Result<u32> {
    u32::try_from(value)
        .ok()
        .filter(|_| value <= LARGEST_ID)
        .ok_or_else(|| Error::invalid(field, format!("{value} is not within 0 to {LARGEST_ID}")))
}

/// Looks it up in a root file system.
pub fn resolve(root: BorrowedFd<'_>, wanted: &Wanted) -> Result<User> {
    let database = |user: &str| engine::user::resolve(root, user, &[]).map_err(Error::from);
    let found = database(&wanted.user)?;
    // With a group in the image's own words the database's groups are left out of that answer, but not by Kubernetes.
    let member = match wanted.user.split_once(':') {
        Some((user, _)) => database(user)?,
        None => found.clone(),
    };
    let gid = wanted.group.unwrap_or(found.gid);
    let mut groups = vec![gid];
    if wanted.policy == SupplementalGroupsPolicy::Merge {
        // The first is the database's primary group, which the request may have replaced.
        groups.extend(member.additional_gids.iter().copied().filter(|group| *group != member.gid));
    }
    groups.extend(&wanted.groups);
    let mut additional_gids = Vec::with_capacity(groups.len());
    groups.into_iter().for_each(|group| {
        if !additional_gids.contains(&group) {
            additional_gids.push(group);
        }
    });
    Ok(User { uid: found.uid, gid, additional_gids, home: found.home })
}

/// As it is reported.
pub fn shown(uid: u32, gid: u32, groups: &[u32]) -> LinuxContainerUser {
    LinuxContainerUser {
        uid: uid.into(),
        gid: gid.into(),
        supplemental_groups: groups.iter().map(|group| i64::from(*group)).collect(),
    }
}

#[cfg(test)]
mod tests {
    use std::os::fd::AsFd;

    use super::*;

    fn root() -> tempfile::TempDir {
        let root = tempfile::tempdir().unwrap();
        std::fs::create_dir(root.path().join("etc")).unwrap();
        std::fs::write(root.path().join("etc/passwd"), "root:x:0:0::/root:\ndefault:x:1000:1000::/home/d:\n")
            .unwrap();
        std::fs::write(root.path().join("etc/group"), "g:x:50000:default\nh:x:7:\n").unwrap();
        root
    }

    fn resolved(security: &LinuxContainerSecurityContext, image: &str) -> Result<(u32, u32, Vec<u32>)> {
        let root = root();
        let folder = std::fs::File::open(root.path()).unwrap();
        let user = resolve(folder.as_fd(), &wanted(security, image)?)?;
        Ok((user.uid, user.gid, user.additional_gids))
    }

    fn security() -> LinuxContainerSecurityContext {
        LinuxContainerSecurityContext::default()
    }

    fn number(value: i64) -> Option<Int64Value> {
        Some(Int64Value { value })
    }

    #[test]
    fn groups_are_merged_or_strict() {
        let merge = LinuxContainerSecurityContext {
            run_as_user: number(1000),
            supplemental_groups: vec![1234],
            ..security()
        };
        assert_eq!(resolved(&merge, "").unwrap(), (1000, 1000, vec![1000, 50000, 1234]));
        let strict = LinuxContainerSecurityContext { supplemental_groups_policy: 1, ..merge };
        assert_eq!(resolved(&strict, "").unwrap(), (1000, 1000, vec![1000, 1234]));
    }

    #[test]
    fn the_request_wins_over_the_image() {
        assert_eq!(resolved(&security(), "default").unwrap(), (1000, 1000, vec![1000, 50000]));
        assert_eq!(resolved(&security(), "default:h").unwrap(), (1000, 7, vec![7, 50000]));
        assert_eq!(resolved(&security(), "").unwrap(), (0, 0, vec![0]));
        let name = LinuxContainerSecurityContext {
            run_as_username: "default".to_owned(),
            run_as_group: number(9),
            ..security()
        };
        assert_eq!(resolved(&name, "root").unwrap(), (1000, 9, vec![9, 50000]));
        let zero = LinuxContainerSecurityContext { run_as_user: number(0), ..security() };
        assert_eq!(resolved(&zero, "default").unwrap(), (0, 0, vec![0]));
    }

    #[test]
    fn what_is_no_user_is_refused() {
        let group = LinuxContainerSecurityContext { run_as_group: number(5), ..security() };
        let unknown =
            LinuxContainerSecurityContext { run_as_username: "nobody-here".to_owned(), ..security() };
        let huge = LinuxContainerSecurityContext { run_as_user: number(1 << 32), ..security() };
        let negative = LinuxContainerSecurityContext { supplemental_groups: vec![-1], ..security() };
        let colon = LinuxContainerSecurityContext { run_as_username: "default:0".to_owned(), ..security() };
        for bad in [group, unknown, huge, negative, colon] {
            assert!(resolved(&bad, "").is_err(), "{bad:?}");
        }
    }
}
