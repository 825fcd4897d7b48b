/**
 * Checks arguments before citty reads them: citty takes unknown flags and flags without their value in silence. Finds
 * every fault at once, with what was meant, and builds the flags of the configuration from its one table.
 */
import type { ArgsDef } from 'citty'
import { SETTINGS } from '../engine/config/config.ts'
import { nearest } from '../engine/config/did-you-mean.ts'
import type { Fault } from '../engine/contract/errors.ts'

const BUILT_IN = ['help']

/** Of the last word: more than anyone writes by hand, and as many as a shell expands `*.csv` to. */
export const POSITIONALS_MAX = 10_000

export function argumentFaults(words: readonly string[], definitions: ArgsDef, positionals: string): Fault[] {
  const faults: Fault[] = []
  const names = [...Object.keys(definitions), ...BUILT_IN]
  let count = 0
  for (let i = 0; i < words.length; i++) {
    const word = words[i]!
    if (word === '--') {
      count += words.length - i - 1
      break
    }
    if (!word.startsWith('-') || word === '-') {
      count++
      continue
    }
    const equals = word.indexOf('=')
    const written = equals < 0 ? word : word.slice(0, equals)
    const name = written.replace(/^--?/, '')
    const negated = name.startsWith('no-') ? definitions[name.slice(3)] : undefined
    if (negated?.type === 'boolean' && equals < 0) continue
    const definition = word.startsWith('--') ? definitions[name] : undefined
    if (definition === undefined || definition.type === 'positional') {
      faults.push(unknownFlag(word, name, names))
      // The next word may be its value or not: no further fault is made of it.
      if (equals < 0 && words[i + 1]?.startsWith('-') === false) i++
      continue
    }
    if (definition.type === 'boolean') {
      if (equals >= 0 && !/^(true|false)$/.test(word.slice(equals + 1))) {
        const remedy = `Write ${written} alone, or --no-${name}.`
        faults.push({ place: written, value: word.slice(equals + 1), problem: 'takes no value', remedy })
      }
      continue
    }
    const value = equals >= 0 ? word.slice(equals + 1) : words[++i]
    if (value === undefined || value === '' || (equals < 0 && value.startsWith('--'))) {
      const remedy = `Write ${written} ${hintOf(definition)}.`
      faults.push({ place: written, value: value || undefined, problem: 'has no value', remedy })
      if (value?.startsWith('--') === true) i--
    }
  }
  if (count > 0 && positionals === '') {
    const extra = words.find((word) => !word.startsWith('-'))
    faults.push({
      place: 'arguments',
      value: extra,
      problem: 'is not expected',
      remedy: 'It takes only flags.',
    })
  }
  if (count > POSITIONALS_MAX) {
    const remedy = `Name at most ${POSITIONALS_MAX}.`
    faults.push({ place: 'arguments', value: count, problem: 'are too many files', remedy })
  }
  return faults
}

function unknownFlag(word: string, name: string, names: readonly string[]): Fault {
  const near = nearest(name, names)
  const guess = near === null ? '' : `Did you mean --${near}? `
  return {
    place: word.replace(/=.*/, ''),
    value: word,
    problem: 'is no known flag',
    remedy: `${guess}--help lists them.`,
  }
}

function hintOf(definition: ArgsDef[string]): string {
  return `<${'valueHint' in definition && definition.valueHint !== undefined ? definition.valueHint : 'value'}>`
}

/** Flags of the configuration, for citty. */
export function settingFlags(): ArgsDef {
  const flags: ArgsDef = {
    config: {
      type: 'string',
      valueHint: 'file',
      description: 'the configuration file (default millrace.config.ts, .mts, .js or .mjs in this directory)',
    },
  }
  for (const { flag, type, default: fallback, meaning, isSwitch } of SETTINGS) {
    const name = flag.slice(2)
    flags[name] = isSwitch
      ? { type: 'boolean', description: meaning }
      : { type: 'string', valueHint: hintFor(type), description: `${meaning} (default ${fallback})` }
  }
  return flags
}

/** Some of them, by their flags' names. */
export function someSettingFlags(...names: readonly string[]): ArgsDef {
  const all = settingFlags()
  return Object.fromEntries(names.map((name) => [name, all[name]!]))
}

/** `whole number at least 1` is a number, `size, a power of two` a size. */
function hintFor(type: string): string {
  return /^whole number/.test(type) ? 'number' : type.replace(/[ ,].*/, '')
}

/** What was given of them, by the setting's own name. */
export function givenSettings(args: Readonly<Record<string, unknown>>): Record<string, unknown> {
  const given: Record<string, unknown> = {}
  for (const { name, flag } of SETTINGS) {
    const value = args[flag.slice(2)]
    if (value !== undefined) given[name] = value
  }
  return given
}
