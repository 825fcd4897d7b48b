/** What `millrace alerts` does, by its first word: for the command, its help and completion, which does not load it. */
export const ALERT_ACTIONS: readonly string[] = [
  'list',
  'incidents',
  'expected',
  'missed',
  'feedback',
  'undo',
  'silence',
  'silences',
  'unsilence',
  'test',
]
