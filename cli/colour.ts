/**
 * Colours, where a person looks: on a terminal, unless NO_COLOR is set; anywhere, if FORCE_COLOR is (as node itself has it:
 * `0` and `false` mean no). Text without them says the same.
 */
export interface Colours {
  bold(text: string): string
  dim(text: string): string
  red(text: string): string
  green(text: string): string
  yellow(text: string): string
}

export function wantsColour(isTerminal: boolean, env: Readonly<Record<string, string | undefined>>): boolean {
  const { FORCE_COLOR: forced, NO_COLOR: refused } = env
  if (forced !== undefined && forced !== '') return forced !== '0' && forced !== 'false'
  if (refused !== undefined && refused !== '') return false
  return isTerminal && env.TERM !== 'dumb'
}

export function colours(isOn: boolean): Colours {
  const sgr =
    (on: number, off: number) =>
    (text: string): string =>
      isOn && text !== '' ? `\x1b[${on}m${text}\x1b[${off}m` : text
  return { bold: sgr(1, 22), dim: sgr(2, 22), red: sgr(31, 39), green: sgr(32, 39), yellow: sgr(33, 39) }
}
