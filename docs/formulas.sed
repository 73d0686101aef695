# Markdown for Doxygen: GitHub's formulas, $`x`$ and ```math blocks, become \f$x\f$ and \f[ \f], and
# what a page sets up for tests/docs inside an HTML comment goes (line numbers stay).
/^<!--$/,/^-->$/s/.*//
s/\$`\([^`]*\)`\$/\\f$\1\\f$/g
/^```math$/,/^```$/{
  s/^```math$/\\f[/
  s/^```$/\\f]/
}
