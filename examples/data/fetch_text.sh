#!/usr/bin/env bash
# Makes the text that distil trains on from Debian's documentation packages (63 MB to fetch; apt has
# to know them): fetch_text.sh [DIRECTORY] writes train.bin (30 MB), valid.bin and words.txt. Pieces
# of documents, at most 6000 bytes each, in random order, end with a zero byte.
set -euo pipefail
out=${1:-build/text}
mkdir -p "$out"
out=$(cd "$out" && pwd)
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"

apt-get download -q perl-doc dict-gcide dict-foldoc dict-jargon linux-doc-6.1
for package in *.deb; do dpkg-deb -x "$package" files; done

{
  find files/usr/share/dictd -name '*.dict.dz' | LC_ALL=C sort
  find files/usr/share/perl -name '*.pod' | LC_ALL=C sort
  find files/usr/share/doc/linux-doc-6.1/html/_sources -name '*.txt*' | LC_ALL=C sort
} >documents

# Without the two that hold numbers and names alone.
grep -vE 'perluniprops|perltoc|maintainers' documents | perl -e '
  use strict;
  my $out = shift;
  srand(1);
  my @pieces;
  while (my $name = <STDIN>) {
    chomp $name;
    open(my $file, $name =~ /[dg]z$/ ? "zcat \"$name\" |" : "<$name") or die "$name: $!";
    local $/;
    my $text = <$file>;
    $text =~ s/[\0\r]//g;
    $text =~ s/[ \t]+/ /g;
    $text =~ s/\n{3,}/\n\n/g;
    while ($text =~ /\G(.{1,6000}(?:\n|\z)|.{1,6000})/gs) { push @pieces, $1 if length($1) > 40 }
  }
  for (my $i = $#pieces; $i > 0; --$i) {  # Fisher and Yates
    my $j = int(rand($i + 1));
    @pieces[$i, $j] = @pieces[$j, $i];
  }
  my %count;
  my %size = ("valid.bin" => 600_000, "train.bin" => 30_000_000);
  for my $name ("valid.bin", "train.bin") {
    open(my $to, ">", "$out/$name") or die "$out/$name: $!";
    while ($size{$name} > 0 && @pieces) {
      my $piece = pop @pieces;
      print $to $piece, "\0";
      $size{$name} -= length($piece) + 1;
      ++$count{$1} while $piece =~ /\b([a-z]{5,9})\b/g;
    }
  }
  my @words = (sort { $count{$b} <=> $count{$a} || $a cmp $b } keys %count)[0 .. 1999];
  for (my $i = $#words; $i > 0; --$i) {  # so that those for evaluations are no rarer
    my $j = int(rand($i + 1));
    @words[$i, $j] = @words[$j, $i];
  }
  open(my $to, ">", "$out/words.txt") or die "$out/words.txt: $!";
  print $to "$_\n" for @words;
' "$out"
ls -l "$out"
