//! What Rust sources name by path, and what the files of a crate import of one another.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use proc_macro2::{TokenStream, TokenTree};
use syn::{
    Arm, Attribute, Field, ImplItem, Item, ItemMod, ItemUse, Macro, MetaList, Path, UseTree,
    Variant, Visibility,
    visit::{self, Visit},
};

/// The parts of a source that are read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scope {
    /// All items, those with `#[cfg(test)]` included.
    Everything,
    /// What is compiled into programs: everything but items with `#[cfg(test)]`.
    Production,
}

/// Every path of two segments or more that a source names: by `use`, whose trees are expanded, in
/// code, in macros and in attributes. Comments and string literals name nothing.
///
/// # Panics
/// When `text` is no Rust source.
#[must_use]
pub fn paths(text: &str, scope: Scope) -> Vec<String> {
    let named = Source::read(text, scope).named.into_iter();
    named.map(|path| path.segments.join("::")).collect()
}

/// The paths of [`paths`] below the crate or module `root`, without it.
///
/// # Panics
/// When `text` is no Rust source.
#[must_use]
pub fn paths_below(root: &str, text: &str, scope: Scope) -> Vec<String> {
    let prefix = format!("{root}::");
    let all = paths(text, scope).into_iter();
    all.filter_map(|path| path.strip_prefix(&prefix).map(str::to_owned)).collect()
}

/// The imports between the files of a crate, in production code. A file is known by the path of
/// its module without `crate::`; the crate's root is the empty path, and a program's `main`.
#[derive(Debug)]
pub struct Imports(BTreeMap<String, BTreeSet<String>>);

impl Imports {
    /// Reads the sources of the crate `name`: their paths below `src`, and their texts.
    ///
    /// An import leads to the file that defines the item, through all re-exports on the way. A file
    /// that only declares and re-exports imports nothing.
    ///
    /// # Panics
    /// When a text is no Rust source.
    #[must_use]
    pub fn of_crate<'a>(name: &str, sources: impl IntoIterator<Item = (&'a str, &'a str)>) -> Self {
        let read = |(file, text)| (module_of(file), Source::read(text, Scope::Production));
        let mut files: BTreeMap<Module, Source> = sources.into_iter().map(read).collect();
        let tests: Vec<Module> = files
            .iter()
            .flat_map(|(module, source)| source.test_modules.iter().map(|name| child(module, name)))
            .collect();
        files.retain(|module, _| !tests.iter().any(|test| module.starts_with(test)));
        let of_file = |(module, source): (&Module, &Source)| {
            let imported = source.named.iter().filter(|_| !source.is_facade);
            let imported = imported.filter_map(|path| {
                let path = absolute(&files, name, module, &path.segments)?;
                Some(defining_file(&files, name, path))
            });
            let imported: BTreeSet<String> = imported
                .filter(|imported| imported != module && !imported.is_empty())
                .map(|imported| imported.join("::"))
                .collect();
            (module.join("::"), imported)
        };
        Self(files.iter().map(of_file).collect())
    }

    /// The number of files.
    #[must_use]
    pub fn files(&self) -> usize {
        self.0.len()
    }

    /// Whether there is a module, or a folder of programs, of this name at the crate's root.
    #[must_use]
    pub fn is_top_level(&self, name: &str) -> bool {
        self.0.keys().any(|file| file.split("::").next() == Some(name))
    }

    /// All imports: the file that imports, and the one that is imported.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &str)> {
        self.0.iter().flat_map(|(file, all)| all.iter().map(move |to| (file.as_str(), to.as_str())))
    }

    /// For each file that imports itself by way of others, the shortest way: `a → b → a`. A cycle
    /// is told once, from its first file.
    #[must_use]
    pub fn cycles(&self) -> Vec<String> {
        let mut found = Vec::new();
        let mut told = BTreeSet::new();
        for file in self.0.keys().filter(|file| !file.is_empty()) {
            if let Some(way) = self.way_back(file)
                && !way.iter().any(|on_it| told.contains(on_it))
            {
                found.push(way.join(" → "));
                told.extend(way);
            }
        }
        found
    }

    fn way_back<'a>(&'a self, file: &'a str) -> Option<Vec<&'a str>> {
        let mut came_from: BTreeMap<&str, &str> = BTreeMap::new();
        let mut queue = VecDeque::from([file]);
        while let Some(at) = queue.pop_front() {
            for next in self.0.get(at).into_iter().flatten().map(String::as_str) {
                if came_from.contains_key(next) {
                    continue;
                }
                came_from.insert(next, at);
                if next == file {
                    let mut way = vec![file];
                    let mut back = at;
                    while back != file {
                        way.push(back);
                        back = came_from.get(back)?;
                    }
                    way.push(file);
                    way.reverse();
                    return Some(way);
                }
                queue.push_back(next);
            }
        }
        None
    }

    /// Imports that do not go down, and modules that are on no floor. `floors` are the crate's
    /// top-level modules from top to bottom; modules on one floor do not import one another.
    #[must_use]
    pub fn upward(&self, floors: &[Vec<String>]) -> Vec<String> {
        let floor = |module: &str| {
            let top = module.split("::").next().unwrap_or_default().to_owned();
            let floor = floors.iter().position(|floor| floor.contains(&top));
            floor.map(|floor| (floor, top.clone())).ok_or(format!("{top} is on no floor"))
        };
        let mut found = BTreeSet::new();
        for file in self.0.keys().filter(|file| !file.is_empty()) {
            found.extend(floor(file).err());
        }
        for (from, to) in self.iter().filter(|(from, _)| !from.is_empty()) {
            if let (Ok((above, from_top)), Ok((below, to_top))) = (floor(from), floor(to))
                && from_top != to_top
                && above >= below
            {
                found.insert(format!("{from} imports {to}, which is not below it"));
            }
        }
        found.into_iter().collect()
    }
}

/// The segments of a module's path from the crate's root.
type Module = Vec<String>;

fn child(module: &Module, name: &str) -> Module {
    module.iter().map(String::as_str).chain([name]).map(str::to_owned).collect()
}

/// `a/b/mod.rs` and `a/b.rs` are the module `a::b`; `lib.rs` is the root.
fn module_of(file: &str) -> Module {
    let path = file.trim_end_matches(".rs");
    let path = path.strip_suffix("/mod").unwrap_or(path);
    if path == "lib" { Vec::new() } else { path.split('/').map(str::to_owned).collect() }
}

/// A path from the root of this crate; nothing for one that leads into another crate, or that
/// begins with a name that is in scope.
fn absolute(
    files: &BTreeMap<Module, Source>,
    name: &str,
    module: &Module,
    path: &[String],
) -> Option<Module> {
    let (first, rest) = path.split_first()?;
    match first.as_str() {
        "crate" => Some(rest.to_vec()),
        other if other == name => Some(rest.to_vec()),
        "self" => Some([module, rest].concat()),
        "super" => {
            let ups = path.iter().take_while(|segment| *segment == "super").count();
            let parent = module.get(..module.len().checked_sub(ups)?)?;
            Some([parent, path.get(ups..)?].concat())
        }
        other if files.contains_key(&child(module, other)) => Some([module, path].concat()),
        _ => None,
    }
}

/// The file of the item at `path`: the longest module, and where that re-exports the item, the one
/// that it comes from.
fn defining_file(files: &BTreeMap<Module, Source>, name: &str, mut path: Module) -> Module {
    // Each re-export leads further down; a chain is not longer than there are files.
    for _ in 0..=files.len() {
        let depth = (0..=path.len()).rev().find(|n| files.contains_key(&path[..*n])).unwrap_or(0);
        let (module, rest) = path.split_at(depth);
        let module = module.to_vec();
        let reexported = rest.first().and_then(|item| {
            let source = files.get(&module)?;
            let from =
                source.named.iter().find(|path| path.reexported_as.as_ref() == Some(item))?;
            absolute(files, name, &module, &from.segments)
        });
        match reexported {
            Some(from) => path = [from.as_slice(), &rest[1..]].concat(),
            None => return module,
        }
    }
    path
}

/// What a source says.
#[derive(Debug, Default)]
struct Source {
    named: Vec<Named>,
    /// Whether it has no items but declarations of modules and `use`.
    is_facade: bool,
    /// Modules of other files that exist in tests only.
    test_modules: Vec<String>,
}

/// A path, as it is written. Within a module in braces, `super` is left out where it leads no
/// further than to the file's own module.
#[derive(Debug)]
struct Named {
    segments: Vec<String>,
    /// The name that others see, if it is re-exported.
    reexported_as: Option<String>,
}

impl Source {
    fn read(text: &str, scope: Scope) -> Self {
        let file = syn::parse_file(text).unwrap_or_else(|error| panic!("{error}:\n{text}"));
        let is_declaration = |item: &Item| match item {
            Item::Mod(module) => module.content.is_none() || is_test(&module.attrs),
            Item::Use(_) => true,
            other => is_test(attributes(other)),
        };
        let is_facade = file.items.iter().all(is_declaration);
        let mut reader = Reader { scope, depth: 0, source: Self { is_facade, ..Self::default() } };
        reader.visit_file(&file);
        reader.source
    }
}

struct Reader {
    scope: Scope,
    /// The number of modules in braces around what is read.
    depth: usize,
    source: Source,
}

impl Reader {
    fn skips(&self, attributes: &[Attribute]) -> bool {
        self.scope == Scope::Production && is_test(attributes)
    }

    fn name(&mut self, mut segments: Vec<String>, reexported_as: Option<String>) {
        let ups = segments.iter().take_while(|segment| *segment == "super").count();
        if self.depth > 0 && ups > 0 {
            segments.drain(..ups.min(self.depth));
            if ups <= self.depth {
                segments.insert(0, "self".to_owned());
            }
        }
        if segments.len() > 1 {
            self.source.named.push(Named { segments, reexported_as });
        }
    }

    fn tree(&mut self, tree: &UseTree, before: &[String], is_public: bool) {
        let with = |name: &syn::Ident| [before, &[name.to_string()]].concat();
        match tree {
            UseTree::Path(path) => self.tree(&path.tree, &with(&path.ident), is_public),
            UseTree::Name(name) if name.ident == "self" => {
                self.name(before.to_vec(), before.last().filter(|_| is_public).cloned());
            }
            UseTree::Name(name) => {
                self.name(with(&name.ident), is_public.then(|| name.ident.to_string()));
            }
            UseTree::Rename(rename) => {
                let path =
                    if rename.ident == "self" { before.to_vec() } else { with(&rename.ident) };
                self.name(path, is_public.then(|| rename.rename.to_string()));
            }
            UseTree::Glob(_) => self.name([before, &["*".to_owned()]].concat(), None),
            UseTree::Group(group) => {
                group.items.iter().for_each(|tree| self.tree(tree, before, is_public));
            }
        }
    }

    /// The paths in the tokens of a macro or an attribute.
    fn tokens(&mut self, tokens: TokenStream) {
        let mut path = Vec::new();
        let mut colons = 0;
        for token in tokens {
            match token {
                TokenTree::Ident(ident) => {
                    if colons != 2 {
                        self.name(std::mem::take(&mut path), None);
                    }
                    path.push(ident.to_string());
                    colons = 0;
                }
                TokenTree::Punct(punct) if punct.as_char() == ':' => colons += 1,
                other => {
                    self.name(std::mem::take(&mut path), None);
                    colons = 0;
                    if let TokenTree::Group(group) = other {
                        self.tokens(group.stream());
                    }
                }
            }
        }
        self.name(path, None);
    }
}

impl<'a> Visit<'a> for Reader {
    fn visit_item(&mut self, item: &'a Item) {
        if !self.skips(attributes(item)) {
            visit::visit_item(self, item);
        } else if let Item::Mod(ItemMod { ident, content: None, .. }) = item {
            self.source.test_modules.push(ident.to_string());
        }
    }

    fn visit_item_mod(&mut self, module: &'a ItemMod) {
        let inside = usize::from(module.content.is_some());
        self.depth += inside;
        visit::visit_item_mod(self, module);
        self.depth -= inside;
    }

    fn visit_item_use(&mut self, item: &'a ItemUse) {
        let is_public = !matches!(item.vis, Visibility::Inherited);
        self.tree(&item.tree, &[], is_public && self.depth == 0);
    }

    fn visit_impl_item(&mut self, item: &'a ImplItem) {
        let attributes = match item {
            ImplItem::Const(item) => item.attrs.as_slice(),
            ImplItem::Fn(item) => item.attrs.as_slice(),
            ImplItem::Type(item) => item.attrs.as_slice(),
            ImplItem::Macro(item) => item.attrs.as_slice(),
            _ => &[],
        };
        if !self.skips(attributes) {
            visit::visit_impl_item(self, item);
        }
    }

    fn visit_variant(&mut self, variant: &'a Variant) {
        if !self.skips(&variant.attrs) {
            visit::visit_variant(self, variant);
        }
    }

    fn visit_field(&mut self, field: &'a Field) {
        if !self.skips(&field.attrs) {
            visit::visit_field(self, field);
        }
    }

    fn visit_arm(&mut self, arm: &'a Arm) {
        if !self.skips(&arm.attrs) {
            visit::visit_arm(self, arm);
        }
    }

    fn visit_path(&mut self, path: &'a Path) {
        self.name(path.segments.iter().map(|segment| segment.ident.to_string()).collect(), None);
        visit::visit_path(self, path);
    }

    fn visit_macro(&mut self, called: &'a Macro) {
        self.visit_path(&called.path);
        self.tokens(called.tokens.clone());
    }

    fn visit_meta_list(&mut self, list: &'a MetaList) {
        self.tokens(list.tokens.clone());
    }
}

/// Whether `#[cfg(test)]` or another condition that needs `test` is among them.
fn is_test(attributes: &[Attribute]) -> bool {
    attributes.iter().filter(|attribute| attribute.path().is_ident("cfg")).any(|attribute| {
        let condition = attribute.meta.require_list().map(|list| list.tokens.to_string());
        let condition = condition.unwrap_or_default();
        let mut words = condition.split(|c: char| !c.is_alphanumeric());
        words.clone().any(|word| word == "test") && words.all(|word| word != "not")
    })
}

fn attributes(item: &Item) -> &[Attribute] {
    match item {
        Item::Const(syn::ItemConst { attrs, .. })
        | Item::Enum(syn::ItemEnum { attrs, .. })
        | Item::ExternCrate(syn::ItemExternCrate { attrs, .. })
        | Item::Fn(syn::ItemFn { attrs, .. })
        | Item::ForeignMod(syn::ItemForeignMod { attrs, .. })
        | Item::Impl(syn::ItemImpl { attrs, .. })
        | Item::Macro(syn::ItemMacro { attrs, .. })
        | Item::Mod(ItemMod { attrs, .. })
        | Item::Static(syn::ItemStatic { attrs, .. })
        | Item::Struct(syn::ItemStruct { attrs, .. })
        | Item::Trait(syn::ItemTrait { attrs, .. })
        | Item::Type(syn::ItemType { attrs, .. })
        | Item::Union(syn::ItemUnion { attrs, .. })
        | Item::Use(ItemUse { attrs, .. }) => attrs,
        _ => &[],
    }
}
