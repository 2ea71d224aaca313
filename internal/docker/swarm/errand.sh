set -eu
# Exit codes: 76 somebody else's folder, 77 a newer claim's, 78 no folder.
verb=$1 deployment=$2 fence=$3 folder=$4

# check FILE: who made the folder, or used it last.
check() {
  [ -f "$folder/$1" ] || return 1
  read -r owner newest <"$folder/$1" || :
  [ "$owner" = "$deployment" ] || exit 76
  [ "$newest" -le "$fence" ] || exit 77
}

# write FILE: whole, or not at all.
write() {
  printf '%s %s\n' "$deployment" "$fence" >"$folder/$1.new"
  mv "$folder/$1.new" "$folder/$1"
}

case $verb in
  find) check mark || exit 78 ;;
  make)
    check mark && exit 0
    mkdir -p "$folder/data"
    write mark
    ;;
  drop)
    [ -d "$folder" ] || exit 0
    check mark || :
    check claim || :
    rm -rf "$folder/data"
    rm -rf "$folder"
    [ ! -e "$folder" ] || exit 1
    ;;
  fill)
    check mark || exit 78
    check claim || :
    write claim
    user=$5
    cd "$folder/data"
    chown "$user" .
    chmod 700 .
    cat /run/berth-files.* | gzip -dc | {
      whole=no
      while read -r mode file content; do
        [ "$mode" != end ] || { whole=yes && break; }
        # What is no folder is in the way: it may lead elsewhere.
        rest=$file at=.
        while [ "${rest#*/}" != "$rest" ]; do
          at=$at/${rest%%/*} rest=${rest#*/}
          if [ -h "$at" ] || [ ! -d "$at" ]; then
            rm -f "$at"
            mkdir "$at"
            chmod 700 "$at"
            chown "$user" "$at"
          fi
        done
        umask 077
        rm -f "$file.berth"
        printf '%s' "$content" | base64 -d >"$file.berth"
        chmod "$mode" "$file.berth"
        chown "$user" "$file.berth"
        [ ! -h "$file" ] || rm -f "$file"
        mv -f "$file.berth" "$file"
      done
      [ "$whole" = yes ]
    }
    ;;
esac
