# Markdown as GitHub reads it, for Doxygen:
# - what a page sets up for tests/docs inside an HTML comment goes;
/^<!--$/,/^-->$/s/.*//
# - formulas, ```math blocks and $`x`$, become \f[ \f] and \f$x\f$; other blocks stay as they are;
/^```math$/,/^```$/{
  s/^```math$/\\f[/
  s/^```$/\\f]/
  b
}
/^```/,/^```$/b
s/\$`\([^`]*\)`\$/\\f$\1\\f$/g
# - headings get the anchor that GitHub gives them, and links to anchors the pages' names here;
/^##[#]* /{
  h
  s/^#* //
  s/[^A-Za-z0-9 _-]//g
  y/ABCDEFGHIJKLMNOPQRSTUVWXYZ /abcdefghijklmnopqrstuvwxyz-/
  s/.*/\\htmlonly<a id="&"><\/a>\\endhtmlonly\n/
  G
}
s|](\(\.\./\)\{0,1\}\(docs/\)\{0,1\}\([a-z-]*\)\.md#|](md_docs_\3.html#|g
s|](\(\.\./\)\{0,1\}examples/README\.md#|](md_examples_README.html#|g
:page
s/\](\(md_docs_[a-z_]*\)-\([a-z_-]*\.html#\)/](\1_\2/
t page
# - links to headers lead to their API, those to other files to copies beside the pages.
s|](\(\.\./\)\{0,1\}include/seqbayes/\([^)]*\))|](@ref \2)|g
s|](\(\.\./\)*[a-z/-]*/\([a-z_]*\.[ch]pp\))|](\2)|g
