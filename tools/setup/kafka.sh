#!/usr/bin/env bash
# kafka.sh: puts the jars of an Apache Kafka broker and its command line tools into the cache folder
# and prints the folder they are in. KAFKA_VERSION chooses the version (default: versions.env). A
# second call finds them and needs no network.
source "$(dirname -- "${BASH_SOURCE[0]}")/common.sh"
source "$setup_dir/versions.env"

version=${KAFKA_VERSION:-$kafka_broker}
[[ $version =~ ^[0-9]+\.[0-9]+\.[0-9]+$ ]] ||
  fail "KAFKA_VERSION is '$version', expected a release such as $kafka_broker"
readonly folder=kafka-$version sums=$setup_dir/kafka-$version.sha256
# The logging binding, named first in the pom so that its newer slf4j wins, and Maven's plugin.
readonly log4j=2.25.1 dependency_plugin=3.8.1

# The tools without Kafka Connect, which brings a web server of 40 jars that nothing here starts.
write_pom() {
  cat <<POM
<project xmlns="http://maven.apache.org/POM/4.0.0">
  <modelVersion>4.0.0</modelVersion>
  <groupId>millrace</groupId>
  <artifactId>kafka-broker</artifactId>
  <version>1</version>
  <packaging>pom</packaging>
  <dependencies>
    <dependency>
      <groupId>org.apache.logging.log4j</groupId>
      <artifactId>log4j-slf4j2-impl</artifactId>
      <version>$log4j</version>
    </dependency>
    <dependency>
      <groupId>org.apache.kafka</groupId>
      <artifactId>kafka_2.13</artifactId>
      <version>$version</version>
    </dependency>
    <dependency>
      <groupId>org.apache.kafka</groupId>
      <artifactId>kafka-tools</artifactId>
      <version>$version</version>
      <exclusions>
        <exclusion>
          <groupId>org.apache.kafka</groupId>
          <artifactId>connect-runtime</artifactId>
        </exclusion>
      </exclusions>
    </dependency>
  </dependencies>
</project>
POM
}

# check_jars DIR: the folder holds exactly the jars of the list, each with its sum.
check_jars() {
  local listed found
  if [ ! -e "$sums" ]; then
    say "no checksums for Kafka $version in tools/setup: its jars are used unverified"
    return
  fi
  listed=$(awk '{ print $2 }' "$sums" | sort)
  found=$(cd "$1" && ls | sort)
  [ "$listed" = "$found" ] ||
    fail "Kafka $version came with other jars than $(basename "$sums") lists:" \
      "$(diff <(printf '%s\n' "$listed") <(printf '%s\n' "$found") | grep '^[<>]' | tr '\n' ' ')"
  (cd "$1" && sha256sum --check --strict --quiet "$sums") >&2 ||
    fail "jars of Kafka $version differ from $(basename "$sums") (above): not used"
}

# Maven's own repository is a folder that goes away again: only the jars are kept.
install_kafka() {
  local work
  command -v mvn >/dev/null || fail "need mvn: run tools/setup/packages.sh kafka"
  work=$(mktemp -d "$cache/.new.XXXXXX")
  say "fetching the jars of Kafka $version (about 45 MB)"
  write_pom >"$work/pom.xml"
  if ! mvn -B -q -Dstyle.color=never --strict-checksums -f "$work/pom.xml" \
    -Dmaven.repo.local="$work/repository" \
    "org.apache.maven.plugins:maven-dependency-plugin:$dependency_plugin:copy-dependencies" \
    -DoutputDirectory="$1/libs" >"$work/log" 2>&1; then
    { grep -m 2 '^\[ERROR\]' "$work/log" || tail -n 20 "$work/log"; } >&2
    fail "the download of Kafka $version failed (above); check the network and the version"
  fi
  rm -rf "$work"
  check_jars "$1/libs"
}

if ! all_ready "$folder"; then
  lock_cache
  install_dir "$folder" install_kafka
fi
printf '%s\n' "$cache/$folder/libs"
